//! Hostile values followed into programs that run what they are given, or read it again later (P11): cron, supervisor, certbot, PHP. What runs in
//! the end writes down what it was given.

use std::collections::BTreeMap;

use settled_tests::host::Host;

use crate::hostile::{NOT_TRAPPED, Subject, TRAP, payloads};

/// Writes down its second argument, and what a variable holds, below the number that is the first.
const SHOW: &str = r#"
mkdir -m 1777 /var/tmp/shown
cat >/usr/bin/show <<'END'
#!/bin/sh
cd /var/tmp/shown
printf '%s' "$2" "$GIVEN" >"$1.new"
mv "$1.new" "$1"
END
chmod 755 /usr/bin/show
"#;
/// cron runs what is to run at boot when it is started for the first time in a boot.
const BOOT_OF_CRON: &str = "rm -f /run/crond.reboot; systemctl restart cron";

/// The payloads, each once and alone.
fn alone() -> Vec<String> {
    payloads::around("").into_iter().step_by(5).collect()
}

/// A command that hands a text on as an argument, and in the environment.
fn showing(number: usize, text: &str) -> String {
    let word = format!("'{}'", text.replace('\'', r"'\''"));
    format!("GIVEN={word} show {number} {word}")
}

/// Waits until all of these were shown, each as it is.
async fn are_shown(host: &Host, texts: &[(usize, String)]) {
    host.comes_to(&format!("[ $(ls /var/tmp/shown | grep -cx '[0-9]*') = {} ]", texts.len())).await;
    for (number, text) in texts {
        assert_eq!(host.read(&format!("/var/tmp/shown/{number}")), text.repeat(2), "{text:?}");
    }
    host.run("rm -f /var/tmp/shown/*");
    host.run(NOT_TRAPPED);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p11_what_cron_and_supervisor_run_is_given_what_was_asked_for() {
    let host = Host::start(&[]).await;
    host.run(TRAP);
    host.run(SHOW);
    host.run("apt-get -qq update; apt-get -qq -y --no-install-recommends install cron >/dev/null 2>&1");
    let mut shown = Vec::new();
    let mut task = Subject::new(&host, "scheduled_task", &[("expression", "@reboot"), ("user", "daemon")]);
    for (number, text) in alone().into_iter().enumerate() {
        let command = showing(number, &text);
        let Some(params) = task.taken("command", &command, &BTreeMap::new()) else { continue };
        task.name = format!("t.{number}");
        assert!(task.install(&params, "command", &command), "{command}");
        shown.push((number, text));
    }
    assert!(shown.len() > 30, "{shown:?}");
    host.run(BOOT_OF_CRON);
    are_shown(&host, &shown).await;

    // Of many lines, so that it takes more; all in one program.
    let mut program = Subject::new(&host, "supervisor_program", &[("user", "daemon")]);
    "p.1".clone_into(&mut program.name);
    let takes = |text: &str| program.taken("command", &showing(0, text), &BTreeMap::new()).is_some();
    let more: Vec<_> = alone().into_iter().enumerate().filter(|(_, text)| takes(text)).collect();
    assert!(more.len() > shown.len(), "{more:?}");
    let lines = more.iter().map(|(number, text)| showing(*number, text) + "\n");
    let command = lines.chain(["exec sleep 1000".to_owned()]).collect::<String>();
    let params = program.taken("command", &command, &BTreeMap::new()).unwrap();
    assert!(program.install(&params, "command", &command));
    are_shown(&host, &more).await;

    let elsewhere = Subject::new(&host, "supervisor_program", &[("command", "exec sleep 1000")]);
    let told = elsewhere.try_all("directory", "/srv/a", |_, value| panic!("there is no {value:?}"));
    assert!(told.0 == 0 && told.1 > 20, "{told:?}");
}

/// Values that certbot hands on, keeps, and reads again.
const KEPT: [[(&str, &str); 3]; 2] = [
    [
        ("webroot", "/srv/w eb, 'a' $HOME;#x %n `reboot`"),
        ("acme_server", "https://localhost:14000/dir?a=$HOME;'$(reboot)&%0a*~,"),
        ("email", "%s+a@hostile.test"),
    ],
    [
        ("webroot", "/srv/w \"b\" \\x é\u{1f9ea} %(here) --config=/etc/shadow"),
        ("acme_server", "https://localhost:14000/dir?[a]='''!@&%(x);s#f,"),
        ("email", "a.%-b@hostile.test"),
    ],
];
/// What certbot could not write, or not read again.
const NOT_KEPT: [(&str, &str); 3] = [
    ("webroot", "/srv/'a' \"b\""),
    ("webroot", "/srv/%(here)s"),
    ("acme_server", "https://localhost:14000/dir?%(x)s"),
];
/// All of them have arrived, twice; the authority knows the address.
const ARRIVED: &str = r#"
cd /etc/ssl/settled/hostile
[ "$(ls acme/archive/settled/cert*.pem | wc -l)" = 2 ]
grep -qxF "$S hostile.test" asked
certbot show_account --config-dir acme --work-dir acme/work --logs-dir acme/logs --server "$S" 2>&1 | grep -qxF "  Email contact: $E"
rm -r "$W"
"#;

/// certbot gets a certificate with them, and another one with what it has kept. Needs an authority, and nginx as it is fresh from the distribution.
pub(crate) fn certbot_takes_them_as_they_are(host: &Host) {
    host.run(TRAP);
    let given =
        [("source", "acme"), ("domains", "hostile.test"), ("acme_server", "https://localhost:14000/dir")];
    for values in KEPT {
        let [(_, webroot), (_, server), (name, email)] = values;
        let subject = Subject::new(host, "tls_certificate", &given);
        let subject = values.iter().fold(subject, |subject, (name, value)| subject.with(name, value));
        let params = subject.taken(name, email, &BTreeMap::new()).unwrap();
        let env = [("W", webroot), ("S", server), ("E", email)].map(|(n, v)| (n.to_owned(), v.to_owned()));
        // What the authority asks for is found by way of this directory alone.
        let way = r#"rm -rf /etc/ssl/settled/hostile /var/www/html/.well-known; mkdir -p "$W"; ln -s "$W/.well-known" /var/www/html/.well-known"#;
        host.run_with(&env, way);
        assert!(subject.install(&params, name, email));
        host.run("rm /etc/ssl/settled/hostile/asked");
        assert!(subject.install(&params, name, email));
        host.run_with(&env, ARRIVED);
    }
    for (name, value) in NOT_KEPT {
        let subject = Subject::new(host, "tls_certificate", &given);
        let params = subject.taken(name, value, &BTreeMap::new()).unwrap();
        assert!(!subject.install(&params, name, value), "{name}: {value}");
    }
    host.run(
        "rm -rf /etc/ssl/settled/hostile /var/www/html/.well-known /var/lib/settled-packages/debian/*/tls_certificate.hostile",
    );
    host.run(NOT_TRAPPED);
}

/// PHP goes by the very amounts that it was given. Needs the resource `php`, which has the extensions `mbstring` and `mysql`.
pub(crate) fn php_goes_by_what_it_is_given(host: &Host) {
    let mut php = Subject::new(host, "php", &[("extensions", "mbstring mysql")]);
    "php".clone_into(&mut php.name);
    for (name, setting, value, bytes) in [
        ("memory_limit", "memory_limit", "-1", "-1"),
        ("memory_limit", "memory_limit", "999999999G", "1073741822926258176"),
        ("upload_max", "upload_max_filesize", "1025", "1025"),
        ("upload_max", "post_max_size", "1048576g", "1125899906842624"),
    ] {
        let params = php.taken(name, value, &BTreeMap::new()).unwrap();
        assert!(php.install(&params, name, value), "{value}");
        let goes_by = host.run(&format!("php -r 'echo ini_parse_quantity(ini_get(\"{setting}\"));'"));
        assert_eq!(goes_by, bytes, "{name}: {value}");
    }
}
