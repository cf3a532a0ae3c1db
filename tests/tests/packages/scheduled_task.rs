//! `scheduled_task`, with a folder of the test in the place of /etc/cron.d.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::{Subject, names, snapshot};

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
