//! Hostile values that the grammars let through, followed into the files that the packages write (P11): each is refused with a plain sentence,
//! or arrives as it is, and nothing beside it changes. What needs the real parser of a program is on a host: `tests/hosts/hostile.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use settled::catalog::{Catalog, Definition, Given};
use settled::domain::params::Params;

use crate::{Subject, Went};

#[path = "../../../daemon/src/catalog/types/payloads.rs"]
mod payloads;

/// Parameters that hold what people write: texts, paths, addresses on the web. Each is followed to where it goes.
const FREE: [&str; 21] = [
    // Here, and those that cron, supervisor and certbot get on a host too: `hosts/interpreted.rs`.
    "deployment.build",
    "deployment.health_command",
    "deployment.path",
    "deployment.shared",
    "deployment.source",
    "scheduled_task.command",
    "script.check",
    "script.setup",
    "script.teardown",
    "supervisor_program.command",
    "supervisor_program.directory",
    "tls_certificate.acme_server",
    "tls_certificate.certificate",
    "tls_certificate.private_key",
    "tls_certificate.webroot",
    // On a host alone: `hosts/hostile.rs`.
    "database_user.password",
    "redis.password",
    "site.certificate",
    "site.certificate_key",
    "site.root",
    "site.upstream",
];

/// Among these is one that each type takes, so that something is put around it.
const GOOD: [&str; 13] = [
    "1",
    "a",
    "/a",
    "a.example",
    "a@b.example",
    "8.2",
    "1.2.3.4",
    "@daily",
    "1m",
    "1k",
    "any",
    "true",
    "http://a.example/b",
];

/// The values of this parameter that the package takes, in the form in which it keeps them.
fn taken(definition: &Definition, given: &[(&str, &str)], name: &str, good: &str) -> Vec<String> {
    let values = payloads::around(good).into_iter().filter_map(|raw| {
        let mut params: Params = given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        params.insert(name.to_owned(), raw);
        definition.check(&params, &BTreeMap::new(), Given::Install).ok()?.get(name).cloned()
    });
    let mut values: Vec<_> = values.collect();
    values.sort();
    values.dedup();
    values
}

/// Every third: where each takes its time.
fn few(values: Vec<String>) -> Vec<String> {
    values.into_iter().step_by(3).collect()
}

/// It was refused for good, by a sentence that people can read and that names the parameter.
fn is_plain_refusal(went: &Went, name: &str, value: &str) {
    assert!(went.is_final, "{value:?}: {went:#?}");
    assert!(went.output.contains(name), "{name}: {value:?}: {went:#?}");
}

/// What no grammar lets through means nothing to a shell, to SQL, or in any file that the packages write.
#[test]
fn p11_but_for_free_texts_no_package_takes_a_character_that_means_anything_to_a_program() {
    let mut free = Vec::new();
    for definition in Catalog::builtin().unwrap().iter() {
        // What lifecycles hand to it reaches the environment of a script of theirs, and nothing else.
        let parameters = definition.parameters.iter().filter(|_| definition.name != "stage_script");
        for parameter in parameters {
            let path = format!("{}.{}", definition.name, parameter.name);
            if parameter.secret() {
                free.push(path);
                continue;
            }
            for good in GOOD {
                for raw in payloads::around(good) {
                    let Ok(kept) = parameter.kind.canonical(&raw) else { continue };
                    let harmless = |c: char| c.is_ascii_alphanumeric() || "._:/@%+~*, -".contains(c);
                    if !kept.chars().all(harmless) || kept.starts_with('-') && kept != "-1" {
                        free.push(path.clone());
                    }
                }
            }
        }
    }
    free.sort();
    free.dedup();
    let mut known = FREE.map(str::to_owned).to_vec();
    known.sort();
    assert_eq!(free, known, "a parameter that takes such values is followed to where it goes");
}

#[test]
fn p11_every_command_that_a_task_takes_arrives_and_cron_reads_the_same_line() {
    let folders = crate::scheduled_task::Folders::new();
    let given = [("expression", "5 4 * * *"), ("command", "date")];
    let definition = Catalog::builtin().unwrap().get("scheduled_task").unwrap();
    let file = || fs::read_to_string(folders.cron().join("settled-t")).unwrap();
    folders.task("t", &given).run("install").well();
    let as_good = file();
    let values = taken(&definition, &given, "command", "date");
    assert!(values.len() > 100, "{values:#?}");
    for command in values {
        let subject = folders.task("t", &[given[0], ("command", &command)]);
        subject.run("install").well();
        let text = fs::read_to_string(folders.of_task("t/command")).unwrap();
        assert_eq!(text, format!("{command}\n"));
        assert_eq!(file(), as_good, "{command:?}");
    }
}

/// Programs that say that all is well, in a folder.
fn stubs(dir: &Path) {
    for (name, text) in [
        ("supervisorctl", "case $1 in status) echo 'settled-p:00 RUNNING pid 1';; esac"),
        ("systemctl", ""),
        ("dpkg-query", "echo installed"),
        ("chgrp", ""),
    ] {
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A package whose files are in a folder of the test instead of the server's.
fn in_folder(dir: &Path, package: &str, given: &[(&str, &str)], theirs: &str) -> Subject {
    let mut subject = Subject::new(package, "p", given);
    let below = |path: &str| dir.join(path).display().to_string();
    subject.programs = Some(dir.join("programs"));
    subject.replace = vec![
        ("[ \"$(id -u)\" = 0 ]".to_owned(), "true".to_owned()),
        ("[ -d /run/systemd/system ]".to_owned(), "true".to_owned()),
        ("/var/lib/settled-packages".to_owned(), below("kept")),
        (theirs.to_owned(), below("etc")),
    ];
    subject
}

#[test]
fn p11_every_command_and_directory_that_supervisor_could_get_arrives_or_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["programs", "etc/conf.d"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    stubs(&dir.path().join("programs"));
    let program =
        |given: &[(&str, &str)]| in_folder(dir.path(), "supervisor_program", given, "/etc/supervisor");
    let file = || fs::read_to_string(dir.path().join("etc/conf.d/settled-p.conf")).unwrap();
    program(&[("command", "exec sleep 9")]).run("install").well();
    let as_good = file();
    let definition = Catalog::builtin().unwrap().get("supervisor_program").unwrap();
    for command in few(taken(&definition, &[], "command", "exec sleep 9")) {
        program(&[("command", &command)]).run("install").well();
        let text = fs::read_to_string(dir.path().join("etc/settled-p.sh")).unwrap();
        assert_eq!(text, format!("#!/bin/sh\n{command}\n"));
        assert_eq!(file(), as_good, "{command:?}");
    }
    let base = dir.path().join("there").display().to_string();
    for directory in taken(&definition, &[("command", "x")], "directory", &base) {
        if Path::new(&directory).starts_with(dir.path()) {
            fs::create_dir_all(&directory).unwrap();
        }
        let went = program(&[("command", "exec sleep 9"), ("directory", &directory)]).run("install");
        if went.code == 0 {
            assert_eq!(file(), as_good.replace("directory=/tmp\n", &format!("directory={directory}\n")));
        } else {
            is_plain_refusal(&went, "directory", &directory);
        }
    }
}

/// Whoever runs the test.
fn myself() -> String {
    let said = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn p11_a_script_of_ones_own_is_run_as_it_is_and_never_taken_for_options_of_the_shell() {
    let dir = tempfile::tempdir().unwrap();
    let (user, shown) = (myself(), dir.path().join("shown"));
    let script = |setup: &str| {
        let mut subject = Subject::new("script", "s", &[("user", &user), ("setup", setup)]);
        let kept = dir.path().display().to_string();
        subject.replace = vec![("/var/lib/settled-packages".to_owned(), kept)];
        subject.replace.push(("(cd && exec".to_owned(), "(cd / && exec".to_owned()));
        subject.run("install")
    };
    let definition = Catalog::builtin().unwrap().get("script").unwrap();
    for text in taken(&definition, &[("user", &user)], "setup", "x") {
        let setup = format!("printf %s '{}' >'{}'", text.replace('\'', r"'\''"), shown.display());
        script(&setup).well();
        assert_eq!(fs::read_to_string(&shown).unwrap(), text);
    }
    fs::create_dir(dir.path().join("source")).unwrap();
    let [path, source] = ["site", "source"].map(|name| dir.path().join(name).display().to_string());
    for dashes in ["-rf", "--config=/etc/shadow", "-c id", "--"] {
        let build = Subject::new(
            "deployment",
            "d",
            &[("path", &path), ("source", &source), ("release", "r1"), ("build", dashes)],
        );
        for went in [script(dashes), build.run("install")] {
            let word = dashes.split(' ').next().unwrap();
            assert!(went.code == 127 && went.output.contains(&format!("{word}: not found")), "{went:#?}");
        }
    }
}

#[test]
fn p11_every_path_that_a_deployment_takes_is_used_as_it_is_or_refused() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("page"), "one").unwrap();
    let source = source.display().to_string();
    let definition = Catalog::builtin().unwrap().get("deployment").unwrap();
    let given = |path: &str| {
        [("path", path), ("source", &source), ("release", "r1")].map(|(k, v)| (k.to_owned(), v.to_owned()))
    };
    let deploy = |more: &[(&str, &str)], path: &str| {
        let given = given(path);
        let all: Vec<_> =
            given.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain(more.iter().copied()).collect();
        Subject::new("deployment", "d", &all)
    };
    let good = root.path().join("srv").display().to_string();
    let needed = [("path", "/x"), ("source", "/x"), ("release", "r1")];
    for path in taken(&definition, &needed[1..], "path", &good) {
        if !Path::new(&path).starts_with(root.path()) {
            continue;
        }
        let subject = deploy(&[], &path);
        subject.run("install").well();
        assert_eq!(fs::read_to_string(Path::new(&path).join("current/page")).unwrap(), "one", "{path:?}");
        subject.run("remove").well();
        assert!(!Path::new(&path).exists(), "{path:?}");
    }
    for shared in few(taken(&definition, &needed, "shared", "a/b")) {
        let subject = deploy(&[("shared", &shared)], &good);
        subject.run("install").well();
        for path in shared.lines() {
            let link = Path::new(&good).join("releases/r1").join(path);
            assert_eq!(
                fs::read_link(&link).unwrap(),
                Path::new(&good).join("shared").join(path),
                "{shared:?}"
            );
        }
        subject.run_with("remove", &[("purge", "true")]).well();
        assert!(!Path::new(&good).exists(), "{shared:?}");
    }
    for from in taken(&definition, &[needed[0], needed[2]], "source", "/nowhere/at/all") {
        if !from.starts_with('/') {
            continue;
        }
        let mut subject = deploy(&[], &good);
        subject.with(&[("source", &from)]);
        is_plain_refusal(&subject.run("install"), "source", &from);
    }
    let there = crate::names(root.path());
    // What lay above a path that is gone stays.
    assert!(there.iter().all(|name| name == "source" || name.starts_with("srv")), "{there:#?}");
}

#[test]
fn p11_a_given_certificate_is_taken_as_it_is_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("programs")).unwrap();
    stubs(&dir.path().join("programs"));
    let (key, pem) = (dir.path().join("private_key"), dir.path().join("certificate"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=a.test",
        ])
        .args(["-addext", "subjectAltName=DNS:a.test", "-days", "2", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&pem)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let good = fs::read_to_string(&pem).unwrap().trim_end().to_owned();
    let (mut went_well, mut refused) = (0, 0);
    for certificate in few(payloads::around(&good)) {
        let given = [("domains", "a.test"), ("source", "given"), ("certificate", certificate.as_str())];
        let definition = Catalog::builtin().unwrap().get("tls_certificate").unwrap();
        let params: Params = given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let secrets = BTreeMap::from([("private_key".to_owned(), fs::read(&key).unwrap())]);
        let Ok(params) = definition.check(&params, &secrets, Given::Install) else { continue };
        let mut subject =
            in_folder(dir.path(), "tls_certificate", &[("domains", "a.test")], "/etc/ssl/settled");
        subject.replace.push(("${SETTLED_SECRETS-}".to_owned(), dir.path().display().to_string()));
        subject.params.clone_from(&params);
        let went = subject.run("install");
        if went.code == 0 {
            went_well += 1;
            let text = fs::read_to_string(dir.path().join("etc/p/live/fullchain.pem")).unwrap();
            assert_eq!(text, format!("{}\n", params["certificate"]));
        } else {
            refused += 1;
            is_plain_refusal(&went, "certificate", &certificate);
        }
    }
    assert!(went_well > 10 && refused > 10, "{went_well} {refused}");
}
