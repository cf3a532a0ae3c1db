//! `firewall_rule`, with a program in the place of ufw that keeps rules as ufw does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, fcntl_lock};
use settled::domain::operation::Operation;
use settled::domain::resource::Presence;

use crate::{Subject, fact};

const ADD: &str = "Add the rule";

/// The ufw of a test: a folder with the program, the rules that it keeps, and its lock.
struct Ufw {
    dir: tempfile::TempDir,
}

impl Ufw {
    /// With rules that somebody else made.
    fn with(rules: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("ufw");
        fs::write(&program, include_str!("ufw.sh")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let lines: Vec<_> = rules.iter().flat_map(|rule| [*rule, "\n"]).collect();
        fs::write(dir.path().join("rules"), lines.concat()).unwrap();
        Self { dir }
    }

    fn rule(&self, name: &str, params: &[(&str, &str)]) -> Subject {
        let mut subject = Subject::new("firewall_rule", name, params);
        subject.programs = Some(self.dir.path().to_owned());
        subject.replace = vec![
            ("[ \"$(id -u)\" = 0 ]".to_owned(), "true".to_owned()),
            ("/run/ufw.lock".to_owned(), self.lock().display().to_string()),
        ];
        subject
    }

    /// The firewall is on, and these SSH sessions have come in at port 22.
    fn on(&self, policy: &str, clients: &[&str]) {
        fs::write(self.dir.path().join("policy"), policy).unwrap();
        let sessions: Vec<_> = clients
            .iter()
            .map(|client| format!("0 0 10.0.0.2:22 {client}:50000 users:((\"sshd\",pid=9,fd=4))\n"))
            .collect();
        // What a session forwards, and what it has sshd listen at: not where SSH comes in.
        let forwards = "0 0 10.0.0.2:41234 192.0.2.50:443 users:((\"sshd\",pid=9,fd=7))\n";
        let listening = "LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:((\"sshd\",pid=1,fd=3))\n\
                         LISTEN 0 128 127.0.0.1:6010 0.0.0.0:* users:((\"sshd\",pid=9,fd=8))\n\
                         LISTEN 0 128 0.0.0.0:7010 0.0.0.0:* users:((\"sshd\",pid=9,fd=9))\n";
        let script = format!(
            "#!/bin/sh\ncase $* in *established*) cat <<'END'\n{}{forwards}END\n;; *) cat <<'END'\n{listening}END\n;; esac\n",
            sessions.concat()
        );
        let program = self.dir.path().join("ss");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Every rule, as `ufw show added` tells it.
    fn rules(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("rules")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn lock(&self) -> PathBuf {
        self.dir.path().join("ufw.lock")
    }
}

/// What the probe tells: action, port, protocol, source.
fn facts(subject: &Subject) -> [String; 4] {
    let reading = subject.probe();
    assert_eq!(reading.presence, Some(Presence::Present), "{reading:?}");
    ["action", "port", "protocol", "source"].map(|name| fact(&reading, name).to_owned())
}

#[test]
fn a_rule_is_added_changed_and_deleted() {
    let ufw = Ufw::with(&[]);
    let mut subject = ufw.rule("web", &[("port", "80")]);
    assert!(subject.proven("remove") && !subject.proven("install"));
    let went = subject.run("install");
    assert!(went.well().output.contains("it is off now"), "{went:?}");
    assert_eq!(ufw.rules(), ["allow 80 comment 'settled:web'"]);
    assert!(subject.proven("install") && !subject.proven("remove"));
    assert_eq!(fact(&subject.probe(), "firewall"), "inactive");

    subject.run("install").well();
    assert_eq!(ufw.rules(), ["allow 80 comment 'settled:web'"], "installed again, nothing changes");

    for (changes, rule) in [
        (vec![("port", "443"), ("protocol", "tcp")], "allow 443/tcp comment 'settled:web'"),
        (vec![("action", "limit")], "limit 443/tcp comment 'settled:web'"),
        (
            vec![("source", "10.0.0.0/8")],
            "limit from 10.0.0.0/8 to any port 443 proto tcp comment 'settled:web'",
        ),
        (
            vec![("source", "2001:DB8::/32"), ("action", "deny")],
            "deny from 2001:db8::/32 to any port 443 proto tcp comment 'settled:web'",
        ),
        (
            vec![("source", "192.0.2.7"), ("protocol", "any"), ("action", "reject")],
            "reject from 192.0.2.7 to any port 443 comment 'settled:web'",
        ),
    ] {
        subject.with(&changes);
        assert!(!subject.proven("update"), "before the update nothing proves it: {changes:?}");
        subject.run("update").well();
        assert_eq!(ufw.rules(), [rule]);
        assert!(subject.proven("update"), "{:?}", subject.probe());
    }
    assert_eq!(facts(&subject), ["reject", "443", "any", "192.0.2.7"]);

    subject.run("remove").well();
    assert!(ufw.rules().is_empty() && subject.proven("remove"));
    subject.run("remove").well();
}

#[test]
fn a_range_of_ports_for_any_protocol_is_two_rules() {
    let ufw = Ufw::with(&[]);
    for (source, rules) in [
        ("any", ["allow 6000:6010/tcp comment 'settled:x'", "allow 6000:6010/udp comment 'settled:x'"]),
        (
            "2001:db8::1",
            [
                "allow from 2001:db8::1 to any port 6000:6010 proto tcp comment 'settled:x'",
                "allow from 2001:db8::1 to any port 6000:6010 proto udp comment 'settled:x'",
            ],
        ),
    ] {
        let mut subject = ufw.rule("x", &[("port", "6000:6010"), ("source", source)]);
        subject.run("install").well();
        assert_eq!(ufw.rules(), rules);
        assert!(subject.proven("install"));
        assert_eq!(facts(&subject), ["allow", "6000:6010", "any", source]);

        subject.with(&[("protocol", "udp")]).run("update").well();
        assert_eq!(ufw.rules(), rules[1..]);
        assert!(subject.proven("update"));
        subject.with(&[("protocol", "any")]);
        assert!(!subject.proven("update"), "half of it proves nothing");
        subject.run("update").well();
        subject.run("remove").well();
        assert!(ufw.rules().is_empty());
    }
}

#[test]
fn a_rule_cut_off_between_its_steps_is_finished_by_the_next_run() {
    let ufw = Ufw::with(&[]);
    let mut subject = ufw.rule("web", &[("port", "80")]);
    subject.run("install").well();
    subject.with(&[("port", "81")]);
    let plan = subject.definition.plan(&Operation::Update, "web", &subject.params, None).unwrap();
    let (code, output) = subject.shell(&plan.steps[0].script, &plan.steps[0].env);
    assert_eq!((code, ufw.rules().len()), (0, 2), "{output}");
    assert!(!subject.proven("update"), "both are there");
    subject.run("update").well();
    assert_eq!(ufw.rules(), ["allow 81 comment 'settled:web'"]);
}

#[test]
fn a_rule_of_somebody_else_is_neither_replaced_nor_deleted() {
    let foreign = [
        "allow 80",
        "deny 81/tcp comment 'mail, no'",
        "allow log 82/tcp",
        "limit from 10.0.0.0/8 to any port 83 proto udp comment 'settled:other'",
        "allow from 2001:db8::1 to any port 84 comment 'web'",
        "allow 85:86/udp",
    ];
    let ufw = Ufw::with(&foreign);
    for params in [
        vec![("port", "80")],
        vec![("port", "80"), ("action", "deny")],
        vec![("port", "81"), ("protocol", "tcp"), ("action", "deny")],
        vec![("port", "82"), ("protocol", "tcp")],
        vec![("port", "83"), ("protocol", "udp"), ("source", "10.0.0.0/8"), ("action", "limit")],
        vec![("port", "84"), ("source", "2001:db8::1")],
        // The first of its two rules is free.
        vec![("port", "85:86")],
    ] {
        let subject = ufw.rule("web", &params);
        let went = subject.run("install");
        went.wrong(ADD, 78, "a rule that is not ours matches the same traffic and would be replaced: ufw ");
        assert!(went.is_final && subject.proven("remove"), "{params:?}");
        subject.run("remove").well();
        assert_eq!(ufw.rules(), foreign, "{params:?}");
    }

    let free = [("port", "80"), ("protocol", "tcp")];
    let mut subject = ufw.rule("web", &free);
    subject.run("install").well();
    subject.with(&[("port", "84"), ("source", "2001:db8::2")]).run("update").well();
    assert_eq!(facts(&subject), ["allow", "84", "tcp", "2001:db8::2"]);
    subject.with(&[("port", "81"), ("source", "any")]).run("update").wrong(ADD, 78, "ufw deny 81/tcp");
    assert_eq!(facts(&subject)[1], "84", "an update that is refused leaves the rule as it was");
    subject.run("remove").well();
    assert_eq!(ufw.rules(), foreign);
}

#[test]
fn a_comment_of_ours_is_only_the_whole_comment() {
    let foreign = [
        "allow 80 comment 'settled:web2'",
        "allow 81 comment 'was settled:web'",
        "allow 82 comment 'settled:web '",
        "allow 83 comment 'Settled:web'",
    ];
    let ufw = Ufw::with(&foreign);
    let subject = ufw.rule("web", &[("port", "90")]);
    subject.run("install").well();
    assert_eq!(facts(&subject), ["allow", "90", "any", "any"]);
    subject.run("remove").well();
    assert_eq!(ufw.rules(), foreign);
}

#[test]
fn another_program_that_holds_the_lock_of_ufw_is_waited_for_by_name() {
    let ufw = Ufw::with(&[]);
    let lock = fs::File::create(ufw.lock()).unwrap();
    let subject = ufw.rule("web", &[("port", "80")]);
    fcntl_lock(&lock, FlockOperation::LockExclusive).unwrap();
    let went = subject.run("install");
    went.wrong(ADD, 75, &format!("ufw is busy: process {} (", std::process::id()));
    assert!(went.busy && ufw.rules().is_empty());
    fcntl_lock(&lock, FlockOperation::Unlock).unwrap();
    subject.run("install").well();
}

#[test]
fn what_ufw_refuses_is_a_failure_with_its_own_words() {
    let ufw = Ufw::with(&[]);
    let subject = ufw.rule("web", &[("port", "80")]);
    fs::write(
        ufw.dir.path().join("ufw"),
        "#!/bin/sh\n[ \"$1\" = show ] || { echo 'ERROR: no' >&2; exit 1; }\n",
    )
    .unwrap();
    let went = subject.run("install");
    went.wrong(ADD, 1, "ERROR: no");
    assert!(!went.is_final && !went.busy);
}

/// What each change of our rule `ssh` (its words, or its removal) means for who is logged in, beside the rules of others.
#[test]
fn p8_no_change_of_a_rule_shuts_out_who_is_logged_in_by_ssh() {
    const V4: &[&str] = &["192.0.2.9"];
    const V6: &[&str] = &["[2001:db8::9]"];
    const REMOVAL: &[(&str, &str)] = &[];
    let ssh = "allow 22/tcp comment 'settled:ssh'";
    let elsewhere: &[(&str, &str)] = &[("port", "2222"), ("protocol", "tcp")];
    let denied: &[(&str, &str)] = &[("port", "22"), ("action", "deny")];
    let from = |source| [("port", "22"), ("protocol", "tcp"), ("source", source)];
    for (policy, clients, others, change, goes) in [
        ("deny", V4, "", REMOVAL, false),
        ("allow", V4, "", REMOVAL, true),
        ("deny", V4, "allow 22", REMOVAL, true),
        ("deny", V4, "allow OpenSSH", REMOVAL, true),
        ("deny", V4, "allow 20:30/tcp", REMOVAL, true),
        ("deny", V4, "allow 20:30/udp", REMOVAL, false),
        ("deny", V4, "allow out 22", REMOVAL, false),
        ("deny", V4, "route allow 22", REMOVAL, false),
        ("deny", V4, "allow from 192.0.2.0/24 to any port 22 proto tcp", REMOVAL, true),
        ("deny", V4, "allow from 192.0.2.0/24 to 10.0.0.2 port 22", REMOVAL, true),
        ("deny", V4, "allow from 192.0.2.0/24", REMOVAL, true),
        ("deny", V4, "allow from 198.51.100.0/24 to any port 22", REMOVAL, false),
        ("deny", V4, "allow in on eth9 to any port 22", REMOVAL, false),
        ("deny", V4, "deny 22\nallow 22/tcp", REMOVAL, false),
        ("allow", V4, "deny from 192.0.2.9", REMOVAL, false),
        ("deny", V6, "allow from 2001:db8::/32 to any port 22", REMOVAL, true),
        ("deny", V6, "allow from 192.0.2.0/24 to any port 22", REMOVAL, false),
        ("deny", V6, "allow 22/tcp\ndeny from 2001:db8::/64", REMOVAL, false),
        ("deny", &["192.0.2.9", "198.51.100.7"], "allow from 192.0.2.0/24 to any port 22", REMOVAL, false),
        ("deny", &[], "allow from 192.0.2.0/24 to any port 22", REMOVAL, false),
        ("deny", &[], "limit 22", REMOVAL, true),
        ("deny", V4, "", elsewhere, false),
        ("deny", V4, "allow 22", elsewhere, true),
        ("deny", V4, "", &from("198.51.100.0/24"), false),
        ("deny", V4, "", &from("192.0.2.0/24"), true),
        ("deny", V4, "", denied, false),
        ("allow", V4, "", denied, false),
        ("allow", V4, "", &[("port", "22"), ("action", "deny"), ("source", "198.51.100.7")], true),
        ("allow", V4, "allow 22", &[("port", "22"), ("action", "reject"), ("source", "192.0.2.0/24")], false),
        ("deny", V4, "", &[("port", "22"), ("protocol", "tcp"), ("action", "limit")], true),
    ] {
        let before: Vec<_> = [ssh].into_iter().chain(others.lines()).collect();
        let ufw = Ufw::with(&before);
        ufw.on(policy, clients);
        let mut subject = ufw.rule("ssh", &[("port", "22"), ("protocol", "tcp")]);
        let went = if change.is_empty() { subject.run("remove") } else { subject.with(change).run("update") };
        let case = format!("{policy} {clients:?} {others} {change:?} {went:?}");
        assert_eq!(went.code, if goes { 0 } else { 78 }, "{case}");
        if !goes {
            assert!(went.output.contains("nothing else lets SSH in at port 22"), "{case}");
            assert_eq!(ufw.rules(), before, "{case}");
        }
    }
}

#[test]
fn what_refuses_one_source_comes_before_what_lets_everybody_in() {
    let ufw = Ufw::with(&["allow 80"]);
    let mut subject = ufw.rule("bad", &[("port", "80"), ("action", "deny"), ("source", "192.0.2.7")]);
    subject.run("install").well();
    let denied = "deny from 192.0.2.7 to any port 80 comment 'settled:bad'";
    assert_eq!(ufw.rules(), [denied, "allow 80"]);
    subject.with(&[("action", "allow")]).run("update").well();
    subject.with(&[("action", "reject")]).run("update").well();
    assert_eq!(ufw.rules(), [&denied.replace("deny", "reject"), "allow 80"]);
    assert!(subject.proven("update"));
}

/// A jump host, X11 and forwarded ports: sshd has sockets at which nobody logs in.
#[test]
fn only_where_ssh_comes_in_counts_as_its_port() {
    let ufw = Ufw::with(&[]);
    ufw.on("deny", &["192.0.2.9"]);
    let kept = ufw.dir.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("firewall.owner"), "fw\n").unwrap();
    let mut subject = Subject::new("firewall", "fw", &[]);
    subject.programs = Some(ufw.dir.path().to_owned());
    subject.replace = vec![("/var/lib/settled-packages".to_owned(), kept.display().to_string())];
    assert_eq!(fact(&subject.probe(), "ssh_ports"), "22");

    // What ufw has noted and was cut off before the kernel had it is no proof (P7).
    assert_eq!(subject.probe().presence, Some(Presence::Present));
    fs::write(kept.join("firewall.fw.changing"), "").unwrap();
    assert_eq!(subject.probe().presence, None);
}
