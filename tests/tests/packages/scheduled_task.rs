//! `scheduled_task`, with folders of the test in the place of /etc/cron.d and of settled's own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::{Subject, Went, fact, names, snapshot};

/// Folders of the test in the place of the server's.
pub(crate) struct Folders(tempfile::TempDir);

impl Folders {
    pub(crate) fn new() -> Self {
        let folders = Self(tempfile::tempdir().unwrap());
        fs::create_dir(folders.cron()).unwrap();
        folders
    }

    pub(crate) fn cron(&self) -> PathBuf {
        self.0.path().join("cron.d")
    }

    pub(crate) fn of_task(&self, name: &str) -> PathBuf {
        self.0.path().join("tasks").join(name)
    }

    pub(crate) fn task(&self, name: &str, params: &[(&str, &str)]) -> Subject {
        let mut subject = Subject::new("scheduled_task", name, params);
        subject.replace = vec![
            ("/etc/cron.d".to_owned(), self.cron().display().to_string()),
            ("/usr/sbin/crond".to_owned(), "/bin/sh".to_owned()),
            ("[ \"$(id -u)\" = 0 ]".to_owned(), "true".to_owned()),
            ("/var/lib/settled-packages".to_owned(), self.0.path().display().to_string()),
            ("chown \"$P_USER\"".to_owned(), "true".to_owned()),
        ];
        subject
    }
}

#[test]
fn a_task_is_written_paused_woken_changed_and_removed() {
    let folders = Folders::new();
    let mut subject = folders.task("night.ly", &[("expression", "0 4 * * MON"), ("command", "true")]);
    assert!(subject.proven("remove") && !subject.proven("install"));
    subject.run("install").well();
    assert_eq!(
        names(&folders.cron()),
        ["settled-night_ly"],
        "a name that cron reads, and nothing half written"
    );
    let file = folders.cron().join("settled-night_ly");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    let line = || fs::read_to_string(&file).unwrap().lines().last().unwrap().to_owned();
    let run = format!("root {} cron", folders.of_task("night.ly/run").display());
    assert_eq!(line(), format!("0 4 * * mon {run}"));
    assert!(subject.proven("install") && !subject.proven("pause"));

    let before = snapshot(folders.0.path());
    subject.run("install").well();
    assert_eq!(snapshot(folders.0.path()), before, "installed again, nothing changes");

    subject.run("pause").well();
    assert_eq!(line(), format!("# paused: 0 4 * * mon {run}"));
    assert!(subject.proven("pause") && !subject.proven("resume") && !subject.proven("install"));
    subject.run("resume").well();
    assert!(subject.proven("resume"));

    subject.with(&[("expression", "@daily")]);
    assert!(!subject.proven("update"));
    subject.run("update").well();
    assert_eq!(line(), format!("@daily {run}"));
    assert!(subject.proven("update"));
    subject.run("remove").well();
    assert!(names(&folders.cron()).is_empty() && subject.proven("remove"));
    assert!(!folders.0.path().join("tasks").exists());
    subject.run("remove").well();
}

#[test]
fn p11_a_command_reaches_its_file_unchanged() {
    let folders = Folders::new();
    for command in [
        "date +%F",
        r"printf 'a\nb\\c'",
        r"x\%y",
        "'; rm -rf / #\"$(reboot)`",
        "-n  two  spaces & | *",
        "echo ü # paused:",
    ] {
        let subject = folders.task("t", &[("expression", "* * * * *"), ("command", command)]);
        subject.run("install").well();
        let text = fs::read_to_string(folders.of_task("t/command")).unwrap();
        assert_eq!(text, format!("{command}\n"));
        assert!(subject.proven("install"), "{:?}", subject.probe());
    }
}

/// As whoever runs the test, who need not be root.
fn run_now(subject: &mut Subject) -> Went {
    subject.replace.push(("runuser -u \"$P_USER\" --".to_owned(), String::new()));
    let went = subject.run("run_now");
    subject.replace.pop();
    went
}

#[test]
fn how_a_run_ended_is_noted_and_one_that_takes_too_long_is_ended() {
    let folders = Folders::new();
    let mut subject = folders.task("t", &[("expression", "@daily"), ("command", "exit 7")]);
    subject.run("install").well();
    assert!(!subject.probe().facts.contains_key("last_exit_code"), "it never ran");
    // As cron calls it.
    let called = Command::new(folders.of_task("t/run")).arg("cron").status().unwrap();
    assert_eq!(called.code(), Some(7));
    let seen = subject.probe();
    assert_eq!((fact(&seen, "last_why"), fact(&seen, "last_exit_code")), ("cron", "7"));

    subject.with(&[("command", "sleep 60"), ("timeout", "1s")]);
    subject.run("update").well();
    run_now(&mut subject).wrong("Run the command", 124, "the command was ended after 1s");
    let seen = subject.probe();
    assert_eq!((fact(&seen, "last_why"), fact(&seen, "last_exit_code")), ("run_now", "124"));

    subject.with(&[("command", "echo it ran"), ("timeout", "1h30m")]);
    subject.run("update").well();
    assert!(run_now(&mut subject).well().output.contains("it ran"));
    assert!(fs::read_to_string(folders.of_task("t/run")).unwrap().contains("timeout --kill-after=10 5400 "));

    let seen = subject.probe();
    let runs: Vec<_> = seen.facts.iter().filter(|(name, _)| name.starts_with("run.")).collect();
    let told = |n: usize| {
        (runs[n].0.as_str(), runs[n].1.split(' ').next().unwrap(), runs[n].1.rsplit(' ').next().unwrap())
    };
    assert_eq!(
        [told(0), told(1), told(2)],
        [("run.01", "run_now", "0"), ("run.02", "run_now", "124"), ("run.03", "cron", "7")]
    );
    for _ in 0..30 {
        Command::new(folders.of_task("t/run")).arg("cron").output().unwrap();
    }
    assert_eq!(fs::read_to_string(folders.of_task("t/outcome")).unwrap().lines().count(), 20);

    // The user of the task may write this file, and is not trusted.
    for wrong in ["cron 1 2", "cron 1 2 $(reboot)", "a[$(reboot)] 1 2 3", "cron 08 09 08", ""] {
        fs::write(folders.of_task("t/outcome"), wrong).unwrap();
        let seen = subject.probe();
        assert!(seen.presence.is_some(), "{wrong}: {seen:?}");
        assert_eq!(
            seen.facts.contains_key("last_exit_code"),
            wrong.starts_with("cron 08"),
            "{wrong}: {seen:?}"
        );
    }
}

#[test]
fn a_task_that_cannot_work_is_refused_for_good() {
    let folders = Folders::new();
    let given = [("expression", "* * * * *"), ("command", "true")];
    let step = "Write the cron file";

    let nobody = folders.task("t", &[given[0], given[1], ("user", "no-such-user-here")]);
    nobody.run("install").wrong(step, 78, "there is no user no-such-user-here on this server");

    let mut without_cron = folders.task("t", &given);
    without_cron.replace[1].1 = "/nowhere/crond".to_owned();
    without_cron.replace.push(("/usr/sbin/cron ".to_owned(), "/nowhere/cron ".to_owned()));
    without_cron.run("install").wrong(
        step,
        78,
        "cron is not installed on this server: settlectl install apt_package --set package=cron",
    );

    folders.task("a.b", &given).run("install").well();
    let twin = folders.task("a_b", &given);
    twin.run("install").wrong(step, 78, "is not of this task");
    twin.run("remove").well();
    assert_eq!(names(&folders.cron()), ["settled-a_b"], "what is not its own stays");
}
