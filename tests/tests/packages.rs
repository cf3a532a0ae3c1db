//! The scripts of the built-in packages, run for real by /bin/sh on this machine.
//!
//! `deployment` runs whole, in a directory of its own. `scheduled_task` runs with a folder of the test in the place of /etc/cron.d.
//! `firewall_rule` needs a firewall that may be changed, so it is shown on real Debian hosts and not here.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at what they cannot do")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use settled::catalog::{Catalog, Definition, Given, ProbeReading, Proof, read_probe};
use settled::domain::operation::Operation;
use settled::domain::params::Params;
use settled::domain::resource::Presence;

/// How an operation went: the first step that failed, or the last.
#[derive(Debug)]
struct Went {
    step: String,
    code: i32,
    output: String,
    busy: bool,
    is_final: bool,
}

impl Went {
    fn well(&self) -> &Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    fn wrong(&self, step: &str, code: i32, words: &str) {
        assert_eq!((self.step.as_str(), self.code), (step, code), "{self:#?}");
        assert!(self.output.contains(words), "{self:#?}");
    }
}

/// A resource of a built-in package, whose steps run here and now.
struct Subject {
    definition: Arc<Definition>,
    name: String,
    params: Params,
    /// Fixed text of the scripts that the test replaces, so that they touch its own files only.
    replace: Vec<(String, String)>,
}

impl Subject {
    fn new(package: &str, name: &str, params: &[(&str, &str)]) -> Self {
        let definition = Catalog::builtin().unwrap().get(package).unwrap();
        let given: Params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let params = definition.check(&given, &BTreeMap::new(), Given::Install).unwrap();
        Self { definition, name: name.to_owned(), params, replace: Vec::new() }
    }

    /// Sets parameters as an update would.
    fn with(&mut self, changes: &[(&str, &str)]) -> &mut Self {
        let changes: Params = changes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let given = Given::Update { current: &self.params, current_secrets: &[] };
        self.params = self.definition.check(&changes, &BTreeMap::new(), given).unwrap();
        self
    }

    fn run(&self, operation: &str) -> Went {
        let operation = Operation::from_word(operation);
        let plan = self.definition.plan(&operation, &self.name, &self.params, None).unwrap();
        let mut all = String::new();
        let mut last = None;
        for step in plan.steps {
            let (code, output) = self.shell(&step.script, &step.env);
            all.push_str(&output);
            let went = Went {
                step: step.title,
                code,
                output: all.clone(),
                busy: step.busy_codes.contains(&code),
                is_final: step.final_codes.contains(&code),
            };
            if code != 0 {
                return went;
            }
            last = Some(went);
        }
        last.unwrap()
    }

    fn probe(&self) -> ProbeReading {
        let plan = self.definition.probe_plan(&self.name, &self.params).unwrap();
        let (code, output) = self.shell(&plan.script, &plan.env);
        assert_eq!(code, 0, "{output}");
        read_probe(output.as_bytes())
    }

    fn proof(&self, operation: &str) -> Proof {
        let plan = self.definition.plan(&Operation::from_word(operation), &self.name, &self.params, None);
        plan.unwrap().proof.unwrap()
    }

    fn proven(&self, operation: &str) -> bool {
        self.proof(operation).holds(&self.probe(), &self.params)
    }

    /// As the step protocol does it: the script from a file, standard input empty, one stream of output.
    fn shell(&self, script: &str, env: &[(String, String)]) -> (i32, String) {
        let mut script = script.to_owned();
        for (from, to) in &self.replace {
            assert!(script.contains(from.as_str()), "the scripts no longer have `{from}`");
            script = script.replace(from.as_str(), to);
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(script.as_bytes()).unwrap();
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("/bin/sh")
            .arg(file.path())
            .env_clear()
            .env("PATH", path)
            .envs(env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
    }
}

/// A folder with two versions of a site, and room for a deployment.
struct Site {
    root: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for version in ["one", "two", "three", "four"] {
            let dir = root.path().join("sources").join(version);
            fs::create_dir_all(dir.join("uploads")).unwrap();
            fs::write(dir.join("index.html"), version).unwrap();
            fs::write(dir.join("uploads/seed"), version).unwrap();
        }
        Self { root }
    }

    fn source(&self, version: &str) -> String {
        self.root.path().join("sources").join(version).display().to_string()
    }

    fn base(&self) -> PathBuf {
        self.root.path().join("srv/site")
    }

    fn deployment(&self, more: &[(&str, &str)]) -> Subject {
        let (base, source) = (self.base().display().to_string(), self.source("one"));
        let mut params = vec![("path", base.as_str()), ("source", source.as_str()), ("release", "r1")];
        params.extend(more);
        Subject::new("deployment", "site", &params)
    }

    /// What a web server would serve.
    fn served(&self) -> String {
        fs::read_to_string(self.base().join("current/index.html")).unwrap_or_else(|_| "nothing".to_owned())
    }

    fn releases(&self) -> Vec<String> {
        names(&self.base().join("releases"))
    }

    fn git(&self, dir: &Path, args: &[&str]) -> String {
        let identity =
            ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"];
        let output = Command::new("git").args(identity).args(args).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {output:?} in {}", self.root.path().display());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every path below a folder with its inode, kind and content.
fn snapshot(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut lines = Vec::new();
    for name in names(dir) {
        let path = dir.join(name);
        let meta = path.symlink_metadata().unwrap();
        let content = match meta.file_type() {
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
            kind if kind.is_file() => fs::read_to_string(&path).unwrap(),
            _ => String::new(),
        };
        lines.push(format!("{} {} {} {content}", path.display(), meta.ino(), meta.mode()));
        if meta.is_dir() {
            lines.extend(snapshot(&path));
        }
    }
    lines
}

fn fact<'r>(reading: &'r ProbeReading, name: &str) -> &'r str {
    reading.facts.get(name).map_or("", String::as_str)
}

#[test]
fn a_deployment_is_installed_updated_rolled_back_and_removed() {
    let site = Site::new();
    let mut subject = site.deployment(&[("health_command", "grep -q . index.html")]);
    assert_eq!(subject.probe().presence, Some(Presence::Absent));
    assert!(!subject.proven("install") && subject.proven("remove"));

    subject.run("install").well();
    assert_eq!(site.served(), "one");
    assert!(subject.proven("install") && !subject.proven("remove"));

    subject.with(&[("release", "r2"), ("source", &site.source("two"))]);
    assert!(!subject.proven("update"), "before the update nothing proves it");
    subject.run("update").well();
    assert_eq!((site.served(), site.releases()), ("two".to_owned(), vec!["r1".to_owned(), "r2".to_owned()]));
    assert!(subject.proven("update"));
    assert_eq!(fact(&subject.probe(), "previous"), "r1");

    subject.run("rollback").well();
    assert_eq!((site.served().as_str(), fact(&subject.probe(), "release")), ("one", "r1"));
    assert!(!subject.proven("update"), "after the rollback the update no longer holds");
    subject.run("rollback").wrong("Switch to the previous release", 78, "no release to go back to: r1");

    subject.run("update").well();
    assert_eq!(site.served(), "two", "a release that is kept is switched to at once");

    subject.run("remove").well();
    assert!(!site.base().exists() && subject.proven("remove"));
    subject.run("remove").well();
}

#[test]
fn a_deployment_installed_again_changes_nothing() {
    let site = Site::new();
    let subject = site.deployment(&[("shared", "uploads"), ("build", "date +%N >built")]);
    subject.run("install").well();
    let before = snapshot(&site.base());
    let went = subject.run("install");
    assert!(went.well().output.contains("the release r1 is there already"), "{went:?}");
    assert_eq!(snapshot(&site.base()), before);
}

#[test]
fn a_failing_build_or_health_check_leaves_current_and_no_half_release() {
    let site = Site::new();
    let mut subject = site.deployment(&[]);
    subject.run("install").well();
    subject.with(&[("release", "r2"), ("source", &site.source("two"))]);
    for (parameter, step) in [("build", "Build"), ("health_command", "Check health")] {
        for code in [1, 75, 78] {
            subject.with(&[("build", ""), ("health_command", "")]);
            subject.with(&[(parameter, &format!("echo the real error >&2; exit {code}; true"))]);
            let went = subject.run("update");
            went.wrong(step, code, "the real error");
            assert!(
                !went.busy && !went.is_final,
                "an exit code of the user's command has no meaning of ours"
            );
            assert_eq!((site.served(), site.releases()), ("one".to_owned(), vec!["r1".to_owned()]));
            assert!(!subject.proven("update"));
        }
    }
    subject.with(&[("build", "test -f index.html"), ("health_command", "")]);
    subject.run("update").well();
    assert_eq!(site.served(), "two", "the same release name works once it is mended");
}

#[test]
fn an_interrupted_deployment_is_finished_by_the_next_run() {
    let site = Site::new();
    let mut subject = site.deployment(&[]);
    subject.run("install").well();
    subject.with(&[("release", "r2"), ("source", &site.source("two"))]);
    let plan = subject.definition.plan(&Operation::Update, "site", &subject.params, None).unwrap();
    for steps in 1..plan.steps.len() {
        for step in &plan.steps[..steps] {
            let (code, output) = subject.shell(&step.script, &step.env);
            assert_eq!(code, 0, "{output}");
        }
        subject.run("update").well();
        assert_eq!((site.served(), site.releases().len()), ("two".to_owned(), 2), "cut after {steps} steps");
        subject.run("rollback").well();
        fs::remove_file(site.base().join(".settled-deployment/releases/r2")).unwrap();
        fs::remove_dir_all(site.base().join("releases/r2")).unwrap();
    }
}

#[test]
fn old_releases_are_pruned_and_the_current_one_never() {
    let site = Site::new();
    let mut subject = site.deployment(&[("keep", "2")]);
    for (release, source) in [("r1", "one"), ("r2", "two"), ("r3", "three"), ("r4", "four")] {
        subject.with(&[("release", release), ("source", &site.source(source))]);
        subject.run("update").well();
    }
    assert_eq!((site.served(), site.releases()), ("four".to_owned(), vec!["r3".to_owned(), "r4".to_owned()]));
    subject.run("rollback").well();
    subject.with(&[("release", "r5"), ("source", &site.source("one"))]);
    subject.run("update").well();
    assert_eq!(site.releases(), ["r3", "r5"], "what was rolled back from is not what one goes back to");
    assert_eq!(fact(&subject.probe(), "previous"), "r3");
    subject.with(&[("release", "r6"), ("keep", "1")]);
    subject.run("update").well();
    assert_eq!(site.releases(), ["r6"]);
}

#[test]
fn shared_paths_outlive_releases_and_a_removal_without_purge() {
    let site = Site::new();
    let mut subject = site.deployment(&[("shared", "uploads\n.env\nvar/deep er/log")]);
    fs::create_dir_all(site.base().join("shared")).unwrap();
    fs::write(site.base().join("shared/.env"), "SECRET=1").unwrap();
    subject.run("install").well();
    let current = site.base().join("current");
    assert_eq!(
        fs::read_to_string(current.join("uploads/seed")).unwrap(),
        "one",
        "the first release fills it"
    );
    fs::write(current.join("uploads/new"), "kept").unwrap();
    fs::write(current.join("var/deep er/log/x"), "kept").unwrap();
    subject.with(&[("release", "r2"), ("source", &site.source("two"))]);
    subject.run("update").well();
    assert_eq!(fs::read_to_string(current.join("uploads/seed")).unwrap(), "one", "and later ones do not");
    assert_eq!(fs::read_to_string(current.join("uploads/new")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(current.join(".env")).unwrap(), "SECRET=1");

    subject.run("remove").well();
    assert_eq!(names(&site.base()), ["shared"]);
    assert_eq!(fs::read_to_string(site.base().join("shared/uploads/new")).unwrap(), "kept");
    subject.run("install").well();
    assert_eq!(fs::read_to_string(current.join("uploads/new")).unwrap(), "kept");
    subject.with(&[("purge", "true")]).run("remove").well();
    assert_eq!(names(&site.base()), [""; 0], "the folder itself was there before");
}

#[test]
fn a_shared_path_below_a_link_of_the_release_is_refused_and_nothing_outside_is_touched() {
    let site = Site::new();
    let outside = site.root.path().join("outside");
    fs::create_dir_all(outside.join("precious")).unwrap();
    std::os::unix::fs::symlink(&outside, Path::new(&site.source("one")).join("link")).unwrap();
    let subject = site.deployment(&[("shared", "link/precious")]);
    subject.run("install").wrong("Link shared", 78, "is a link, so link/precious cannot be shared below it");
    assert!(outside.join("precious").is_dir());
}

#[test]
fn a_deployment_comes_from_an_archive_or_from_git() {
    let site = Site::new();
    let archive = site.root.path().join("site.tar.gz");
    let source = site.source("two");
    let tar = Command::new("tar").arg("-czf").arg(&archive).args(["-C", &source, "."]).status().unwrap();
    assert!(tar.success());
    let mut subject = site.deployment(&[("source", archive.to_str().unwrap())]);
    subject.run("install").well();
    assert_eq!(site.served(), "two");

    let repository = PathBuf::from(site.source("three"));
    site.git(&repository, &["init", "-q"]);
    site.git(&repository, &["add", "."]);
    site.git(&repository, &["commit", "-qm", "first"]);
    site.git(&repository, &["tag", "v1"]);
    let first = site.git(&repository, &["rev-parse", "HEAD"]);
    fs::write(repository.join("index.html"), "three, changed").unwrap();
    site.git(&repository, &["commit", "-qam", "second"]);
    let url = format!("file://{}", repository.display());
    for (release, git_ref, served) in
        [("g1", "v1", "three"), ("g2", "", "three, changed"), ("g3", "main", "three, changed")]
    {
        subject.with(&[("source", &url), ("ref", git_ref), ("release", release)]).run("update").well();
        assert_eq!(site.served(), served, "{git_ref}");
        assert!(!site.base().join("current/.git").exists());
    }
    subject.with(&[("ref", "v1"), ("release", "g4")]).run("update").well();
    assert_eq!(fact(&subject.probe(), "commit"), first);
    let went = subject.with(&[("ref", "nowhere"), ("release", "g5")]).run("update");
    assert!(went.code != 0 && went.output.contains("nowhere"), "{went:?}");
    assert_eq!(fact(&subject.probe(), "release"), "g4");
    subject.with(&[("source", &site.source("one")), ("ref", "v1"), ("release", "g6")]).run("update").wrong(
        "Fetch",
        78,
        "ref is for git repositories",
    );
}

#[test]
fn what_someone_else_made_is_neither_taken_over_nor_removed() {
    let site = Site::new();
    fs::create_dir_all(site.base().join("current")).unwrap();
    fs::write(site.base().join("current/index.html"), "precious").unwrap();
    let subject = site.deployment(&[]);
    subject.run("install").wrong("Prepare release", 78, "was not made by settled");
    subject.run("remove").well();
    assert_eq!(site.served(), "precious");

    let site = Site::new();
    let mut first = site.deployment(&[]);
    first.run("install").well();
    let mut other = site.deployment(&[]);
    other.name = "other".to_owned();
    other.run("install").wrong("Prepare release", 78, "belongs to the deployment site");
    other.run("remove").wrong("Remove releases", 78, "belongs to the deployment site");
    first.with(&[("source", &site.source("two"))]).run("update").wrong(
        "Prepare release",
        78,
        "give a new release name",
    );
    assert_eq!(site.served(), "one");

    fs::create_dir_all(site.base().join("releases/mine")).unwrap();
    first.with(&[("release", "mine")]).run("update").wrong("Prepare release", 78, "was not made by settled");
    fs::write(site.base().join("notes"), "mine").unwrap();
    first.run("remove").well();
    assert_eq!(names(&site.base()), ["notes", "releases"]);
    assert_eq!(site.releases(), ["mine"]);
}

#[test]
fn sources_that_cannot_work_are_refused_for_good() {
    let site = Site::new();
    let above = site.root.path().display().to_string();
    for (source, words) in [
        ("/nowhere/at-all", "there is no directory and no archive"),
        (&above, "contains the deployment itself"),
    ] {
        let subject = site.deployment(&[("source", source)]);
        let went = subject.run("install");
        went.wrong("Fetch", 78, words);
        assert!(went.is_final && !subject.proven("install"));
        assert_eq!(site.releases(), [""; 0], "no half release stays");
        subject.run("remove").well();
        assert!(!site.base().exists(), "a removal clears away what a failed install left");
    }
}

#[test]
fn p11_hostile_parameters_of_a_deployment_stay_data() {
    let site = Site::new();
    let trap = site.root.path().join("trap");
    let odd = site.root.path().join("o d'd\"$(touch trap)`;&*").join("site");
    let evil = format!("/x$(touch {0})`touch {0}`';touch {0};'", trap.display());
    let subject = Subject::new(
        "deployment",
        "site",
        &[
            ("path", odd.to_str().unwrap()),
            ("source", &site.source("one")),
            ("release", "r1"),
            ("shared", "$(touch trap)\na b/*'c"),
        ],
    );
    subject.run("install").well();
    assert_eq!(fs::read_to_string(odd.join("current/index.html")).unwrap(), "one");
    assert!(subject.proven("install"));
    subject.run("remove").well();
    site.deployment(&[("source", &evil)]).run("install").wrong(
        "Fetch",
        78,
        "there is no directory and no archive",
    );
    assert!(!trap.exists() && !Path::new("trap").exists());
}

/// A task whose file goes to a folder of the test.
fn task(dir: &Path, name: &str, params: &[(&str, &str)]) -> Subject {
    let mut subject = Subject::new("scheduled_task", name, params);
    subject.replace = vec![
        ("/etc/cron.d".to_owned(), dir.display().to_string()),
        ("/usr/sbin/crond".to_owned(), "/bin/sh".to_owned()),
        ("[ \"$(id -u)\" = 0 ]".to_owned(), "true".to_owned()),
    ];
    subject
}

#[test]
fn a_task_is_written_paused_woken_changed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut subject = task(dir.path(), "night.ly", &[("expression", "0 4 * * MON"), ("command", "true")]);
    assert!(subject.proven("remove") && !subject.proven("install"));
    subject.run("install").well();
    assert_eq!(names(dir.path()), ["settled-night_ly"], "a name that cron reads, and nothing half written");
    let file = dir.path().join("settled-night_ly");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    let line = || fs::read_to_string(&file).unwrap().lines().last().unwrap().to_owned();
    assert_eq!(line(), "0 4 * * mon root true");
    assert!(subject.proven("install") && !subject.proven("pause"));

    let before = snapshot(dir.path());
    subject.run("install").well();
    assert_eq!(snapshot(dir.path()), before, "installed again, nothing changes");

    subject.run("pause").well();
    assert_eq!(line(), "# paused: 0 4 * * mon root true");
    assert!(subject.proven("pause") && !subject.proven("resume") && !subject.proven("install"));
    subject.run("resume").well();
    assert!(subject.proven("resume"));

    subject.with(&[("expression", "@daily")]);
    assert!(!subject.proven("update"));
    subject.run("update").well();
    assert_eq!(line(), "@daily root true");
    assert!(subject.proven("update"));
    subject.run("remove").well();
    assert!(names(dir.path()).is_empty() && subject.proven("remove"));
    subject.run("remove").well();
}

#[test]
fn p11_a_command_reaches_its_file_so_that_cron_reads_it_back_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    for (command, written) in [
        ("date +%F", r"date +\%F"),
        (r"printf 'a\nb\\c'", r"printf 'a\\nb\\\\c'"),
        (r"x\%y", r"x\\\%y"),
        ("'; rm -rf / #\"$(reboot)`", "'; rm -rf / #\"$(reboot)`"),
        ("-n  two  spaces & | *", "-n  two  spaces & | *"),
        ("echo ü # paused:", "echo ü # paused:"),
    ] {
        let subject = task(dir.path(), "t", &[("expression", "* * * * *"), ("command", command)]);
        subject.run("install").well();
        let text = fs::read_to_string(dir.path().join("settled-t")).unwrap();
        assert_eq!(text.lines().last(), Some(format!("* * * * * root {written}").as_str()));
        assert!(subject.proven("install"), "{:?}", subject.probe());
    }
}

#[test]
fn a_task_that_cannot_work_is_refused_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let given = [("expression", "* * * * *"), ("command", "true")];
    let step = "Write the cron file";

    let nobody = task(dir.path(), "t", &[given[0], given[1], ("user", "no-such-user-here")]);
    nobody.run("install").wrong(step, 78, "there is no user no-such-user-here on this server");

    let mut without_cron = task(dir.path(), "t", &given);
    without_cron.replace[1].1 = "/nowhere/crond".to_owned();
    without_cron.replace.push(("/usr/sbin/cron ".to_owned(), "/nowhere/cron ".to_owned()));
    without_cron.run("install").wrong(
        step,
        78,
        "cron is not installed on this server: install the package cron",
    );

    task(dir.path(), "a.b", &given).run("install").well();
    let twin = task(dir.path(), "a_b", &given);
    twin.run("install").wrong(step, 78, "is not of this task");
    twin.run("remove").well();
    assert_eq!(names(dir.path()), ["settled-a_b"], "what is not its own stays");

    let long = "%".repeat(600);
    task(dir.path(), "long", &[given[0], ("command", &long)]).run("install").wrong(
        step,
        78,
        "too long for cron",
    );
    assert_eq!(names(dir.path()), ["settled-a_b"]);
}
