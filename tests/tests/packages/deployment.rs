//! `deployment`, whole, in a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use settled::domain::operation::Operation;
use settled::domain::resource::Presence;

use crate::{Subject, fact, names, snapshot};

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
    assert_eq!(subject.told(), "release=r1\ncommit=\n");
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
fn one_goes_back_to_any_release_that_is_kept_and_to_no_other() {
    let site = Site::new();
    let mut subject = site.deployment(&[]);
    for (release, source) in [("r1", "one"), ("r2", "two"), ("r3", "three")] {
        subject.with(&[("release", release), ("source", &site.source(source))]).run("update").well();
        assert_eq!(subject.told(), format!("release={release}\ncommit=\n"));
    }
    for nowhere in ["r4", "r"] {
        let went = subject.run_with("rollback", &[("to", nowhere)]);
        went.wrong("Switch to the previous release", 78, "to go back to from r3; there were: r1 r2 r3");
    }
    subject.run_with("rollback", &[("to", "r1")]).well();
    assert_eq!((site.served().as_str(), subject.told().as_str()), ("one", "release=r1\ncommit=\n"));
    let forward = subject.run_with("rollback", &[("to", "r2")]);
    forward.wrong("Switch to the previous release", 78, "there is no release r2 to go back to from r1");
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
    subject.run_with("remove", &[("purge", "true")]).well();
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
    assert_eq!(subject.told(), format!("release=g4\ncommit={first}\n"));
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
