//! Each type: what it takes, in which canonical form, and what it refuses.

use super::*;

/// A value, and its canonical form; `None` when it is refused.
type Case = (&'static str, Option<&'static str>);

fn check(kind: &ParamType, cases: &[Case]) {
    for (raw, expected) in cases {
        let answer = kind.canonical(raw);
        assert_eq!(answer.as_deref().ok(), *expected, "{} `{raw}`: {answer:?}", kind.word());
        if let Ok(canonical) = answer {
            assert_eq!(kind.canonical(&canonical), Ok(canonical.clone()), "canonical once is canonical");
        }
    }
}

fn same(values: &[&'static str]) -> Vec<Case> {
    values.iter().map(|value| (*value, Some(*value))).collect()
}

fn refused(values: &[&'static str]) -> Vec<Case> {
    values.iter().map(|value| (*value, None)).collect()
}

#[test]
fn text_has_a_length_a_pattern_and_no_control_characters() {
    let line = ParamType::Text { bytes_max: 5, pattern: None, multiline: false };
    check(&line, &same(&["a", "-x", "a b", "ü", "'\";$"]));
    check(&line, &refused(&["abcdef", "a\nb", "a\tb", "\u{0}", "\u{7f}", "\u{9b}", "a\r"]));
    let lines = ParamType::Text { bytes_max: 9, pattern: None, multiline: true };
    check(&lines, &same(&["a\nb\tc"]));
    check(&lines, &refused(&["a\r\nb", "\u{1b}[m"]));
    let word = ParamType::Text { bytes_max: 9, pattern: Some(pattern("a|b+").unwrap()), multiline: false };
    check(&word, &same(&["a", "bbb"]));
    check(&word, &refused(&["ab", "xa", "c"]));
}

#[test]
fn numbers_and_words() {
    check(
        &ParamType::Integer { min: -5, max: 100 },
        &[("007", Some("7")), ("-5", Some("-5")), ("100", Some("100")), ("-0", Some("0"))],
    );
    check(
        &ParamType::Integer { min: -5, max: 100 },
        &refused(&["-6", "101", "+1", "1.0", "0x1", " 1", "--1", "", "9999999999999999999"]),
    );
    check(
        &ParamType::Boolean,
        &[("true", Some("true")), ("Yes", Some("true")), ("off", Some("false")), ("0", Some("false"))],
    );
    check(&ParamType::Boolean, &refused(&["", "2", "maybe", "true "]));
    let values = vec!["tcp".to_owned(), "udp".to_owned()];
    check(&ParamType::Enum { values: values.clone() }, &same(&["tcp", "udp"]));
    check(&ParamType::Enum { values }, &refused(&["TCP", "", "icmp"]));
}

#[test]
fn ports_and_ranges() {
    check(&ParamType::Port, &[("80", Some("80")), ("0080", Some("80")), ("65535", Some("65535"))]);
    check(&ParamType::Port, &refused(&["0", "65536", "-1", "+1", "80/tcp", "80:81", " 80", ""]));
    check(
        &ParamType::PortRange,
        &[("80", Some("80")), ("6000:6010", Some("6000:6010")), ("7:7", Some("7")), ("01:02", Some("1:2"))],
    );
    check(&ParamType::PortRange, &refused(&["6010:6000", "6000-6010", "1:", ":1", "1:2:3", "0:5", "80,443"]));
}

#[test]
fn addresses_and_networks() {
    check(
        &ParamType::Cidr,
        &[
            ("192.0.2.7", Some("192.0.2.7")),
            ("192.0.2.7/32", Some("192.0.2.7")),
            ("192.0.2.0/24", Some("192.0.2.0/24")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("2001:DB8:0:0::1", Some("2001:db8::1")),
            ("2001:db8::/032", Some("2001:db8::/32")),
            ("::1/128", Some("::1")),
        ],
    );
    check(
        &ParamType::Cidr,
        &refused(&[
            "any",
            "192.0.2.7/24",
            "192.0.2.0/33",
            "192.0.2",
            "192.0.2.0/",
            "192.0.2.0/+8",
            "fe80::1%eth0",
            "::/129",
            "localhost",
            "010.0.0.1",
        ]),
    );
    check(&ParamType::CidrOrAny, &[("ANY", Some("any")), ("10.0.0.0/8", Some("10.0.0.0/8"))]);
    check(&ParamType::CidrOrAny, &refused(&["0.0.0.0/0", "::/0", "anywhere", ""]));
}

#[test]
fn host_names() {
    check(
        &ParamType::Hostname,
        &[
            ("WWW.Example.org", Some("www.example.org")),
            ("a", Some("a")),
            ("3com.example", Some("3com.example")),
        ],
    );
    check(
        &ParamType::Hostname,
        &refused(&[
            "",
            "-a.org",
            "a-.org",
            "a..org",
            "a.org.",
            "a_b",
            "192.0.2.7",
            "ü.org",
            "a b",
            "a;b",
            "a/b",
        ]),
    );
    assert!(ParamType::Hostname.canonical(&"a".repeat(64)).is_err());
}

#[test]
fn lists_of_host_names() {
    check(
        &ParamType::Hostnames,
        &[
            ("Example.org", Some("example.org")),
            ("  b.example  *.A.example ", Some("b.example *.a.example")),
            ("a.org,b.org, c.org", Some("a.org b.org c.org")),
        ],
    );
    check(
        &ParamType::Hostnames,
        &refused(&["", " ", "*", "a.*.org", "*.*.org", "*.192.0.2.7", "a.org;b.org", "a.org;", "a.org $(b)"]),
    );
    let twice = ParamType::Hostnames.canonical("a.org b.org A.org").unwrap_err();
    assert_eq!(twice, "`a.org` is there twice");
}

#[test]
fn addresses() {
    check(
        &ParamType::Address,
        &[("192.0.2.7", Some("192.0.2.7")), ("2001:DB8:0:0::7", Some("2001:db8::7")), ("::", Some("::"))],
    );
    check(
        &ParamType::Address,
        &refused(&["", "any", "192.0.2", "192.0.2.0/24", "192.0.2.07", "[::1]", "::1%eth0"]),
    );
}

#[test]
fn lists_of_addresses_networks_and_words() {
    check(
        &ParamType::Addresses,
        &[("::1,  192.0.2.7", Some("::1 192.0.2.7")), ("2001:DB8:0::1", Some("2001:db8::1"))],
    );
    check(
        &ParamType::Addresses,
        &refused(&["", " ", ",", "*", "any", "192.0.2.0/24", "::1 0:0::1", "::1;::2"]),
    );
    check(
        &ParamType::Cidrs,
        &[("10.0.0.0/8 ::1/128", Some("10.0.0.0/8 ::1")), ("192.0.2.7", Some("192.0.2.7"))],
    );
    check(&ParamType::Cidrs, &refused(&["", "any", "10.0.0.1/8", "10.0.0.0/8 10.0.0.0/8", "a.org"]));
    let any = ParamType::Words { pattern: None };
    check(&any, &[("mysql,curl", Some("mysql curl")), ("g++ lib32:i386", Some("g++ lib32:i386"))]);
    check(&any, &refused(&["", "-a", "a -b", "a a", "a;b", "$(b)", "ü"]));
    assert!(any.canonical(&"a".repeat(65)).is_err() && any.canonical(&"a b ".repeat(2000)).is_err());
    let lower = ParamType::Words { pattern: Some(pattern("[a-z0-9]+").unwrap()) };
    check(&lower, &same(&["mysql curl"]));
    check(&lower, &refused(&["mysql Curl", "a.b"]));
}

#[test]
fn sizes() {
    check(
        &ParamType::Size,
        &[
            ("0", Some("0")),
            ("007", Some("7")),
            ("16M", Some("16m")),
            ("2048k", Some("2m")),
            ("1536m", Some("1536m")),
            ("1073741824", Some("1g")),
            ("1048576g", Some("1048576g")),
        ],
    );
    check(
        &ParamType::Size,
        &refused(&[
            "",
            "m",
            "-1",
            "+1",
            "1.5g",
            "16mb",
            "16 m",
            "1t",
            "1048577g",
            "99999999999999999999",
            "1ü",
        ]),
    );
}

#[test]
fn names_of_other_programs() {
    check(&ParamType::DebianPackage, &same(&["nginx", "g++", "libstdc++6", "0ad", "php8.2-fpm"]));
    check(
        &ParamType::DebianPackage,
        &refused(&[
            "",
            "a",
            "nginx-",
            "-nginx",
            "Nginx",
            "+a",
            "a_b",
            "nginx:i386",
            "nginx=1",
            "nginx/stable",
            "a b",
        ]),
    );
    check(
        &ParamType::DebianVersion,
        &[
            ("1.22.1-9+deb12u1", Some("1.22.1-9+deb12u1")),
            ("2:9.0.1378-2", Some("2:9.0.1378-2")),
            ("0:1.0", Some("1.0")),
            ("1.0~rc1-2-3", Some("1.0~rc1-2-3")),
        ],
    );
    check(
        &ParamType::DebianVersion,
        &refused(&["", "v1", "1.0-", "-1", ":1", "1:", "1:2:3", "+1:2", "1.0 ", "1.0*", "1/2", "~1"]),
    );
    check(&ParamType::SqlName, &same(&["shop_1", "_a", "A"]));
    check(&ParamType::SqlName, &refused(&["", "1a", "a-b", "a.b", "a`b", "a b", "ü", "a;"]));
    assert!(ParamType::SqlName.canonical(&"a".repeat(65)).is_err());
    check(
        &ParamType::Email,
        &[
            ("Ann.Lee+x@Example.ORG", Some("Ann.Lee+x@example.org")),
            ("o'hara@a.example", Some("o'hara@a.example")),
        ],
    );
    check(
        &ParamType::Email,
        &refused(&[
            "",
            "a",
            "@a.org",
            "a@",
            "a@localhost",
            "a@192.0.2.7",
            ".a@a.org",
            "a.@a.org",
            "a..b@a.org",
            "a b@a.org",
            "-a@a.org",
            "\"a\"@a.org",
            "a@b@c.org",
            "ü@a.org",
            "a@-a.org",
        ]),
    );
}

#[test]
fn paths() {
    check(
        &ParamType::Path,
        &[
            ("/srv/site", Some("/srv/site")),
            ("//srv///site/", Some("/srv/site")),
            ("/a b/-c", Some("/a b/-c")),
        ],
    );
    check(
        &ParamType::Path,
        &refused(&["", "/", "//", "srv", "-rf", "/a/../b", "/a/./b", "/..", "/a\nb", "~/x"]),
    );
    check(
        &ParamType::RelativePaths,
        &[
            ("storage/\n\n  .env \n", Some("storage\n.env")),
            ("a/b\na/c", Some("a/b\na/c")),
            ("ab\na", Some("ab\na")),
        ],
    );
    check(
        &ParamType::RelativePaths,
        &refused(&["/etc", "../x", "a/../b", "-rf", "a\na/b", "a/b\na", "x\nx", ".", "a /"]),
    );
}

#[test]
fn users() {
    check(&ParamType::UnixUser, &same(&["root", "www-data", "_apt", "John.Doe", "u1"]));
    check(&ParamType::UnixUser, &refused(&["", "-root", "1user", "a b", "a:b", "a$", "ü", "root\n", "a/b"]));
    assert!(ParamType::UnixUser.canonical(&"a".repeat(33)).is_err());
}

#[test]
fn cron_expressions() {
    check(
        &ParamType::Cron,
        &[
            ("* * * * *", Some("* * * * *")),
            ("  */5   8-18 * * MON-Fri ", Some("*/5 8-18 * * mon-fri")),
            ("00 04 1,15 jan,JUL *", Some("0 4 1,15 jan,jul *")),
            ("0-59/10 0 29 2 *", Some("0-59/10 0 29 2 *")),
            ("0 0 * * 7", Some("0 0 * * 7")),
            ("0 0 30 2 mon", Some("0 0 30 2 mon")),
            ("5,10-20/3,40 * * * sun", Some("5,10-20/3,40 * * * sun")),
            ("@Daily", Some("@daily")),
            ("@reboot", Some("@reboot")),
        ],
    );
    check(
        &ParamType::Cron,
        &refused(&[
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * 0 *",
            "* * * * 8",
            "5/10 * * * *",
            "*/0 * * * *",
            "*/x * * * *",
            "10-5 * * * *",
            "* * * * sat-sun",
            "mon * * * *",
            "* * * * monday",
            "1,,2 * * * *",
            "1- * * * *",
            "-1 * * * *",
            "? * * * *",
            "* * L * *",
            "* * * * 1#2",
            "1~5 * * * *",
            "@every 5m",
            "@fortnightly",
            "0 0 30 2 *",
            "0 0 31 4,6 *",
            "* * * * *\n* * * * * root rm",
            "%",
            "+1 * * * *",
        ]),
    );
}

#[test]
fn spans_of_time() {
    check(
        &ParamType::Duration,
        &[
            ("90s", Some("1m30s")),
            ("10m", Some("10m")),
            ("1h30m", Some("1h30m")),
            ("24h", Some("1d")),
            ("0h1s", Some("1s")),
        ],
    );
    check(
        &ParamType::Duration,
        &refused(&[
            "",
            "0s",
            "10",
            "m",
            "1m1h",
            "1m1m",
            "1.5h",
            "-1s",
            "1 s",
            "99999999999999999999s",
            "3651d",
            "1ü",
        ]),
    );
}

#[test]
fn addresses_of_pages_and_repositories() {
    check(
        &ParamType::Url,
        &[
            ("https://Example.org/a?b=c#d", Some("https://example.org/a?b=c#d")),
            ("HTTP://192.0.2.7:8080", Some("http://192.0.2.7:8080")),
            ("http://[2001:db8::1]:80/", Some("http://[2001:db8::1]:80/")),
        ],
    );
    check(
        &ParamType::Url,
        &refused(&[
            "",
            "ftp://a.org",
            "https://",
            "https://u:p@a.org",
            "https://a.org/a b",
            "https://a.org/\"",
            "//a.org",
            "https://-a.org",
            "https://a.org:0",
            "http://[::1",
            "javascript:alert(1)",
        ]),
    );
    check(
        &ParamType::GitUrl,
        &same(&[
            "https://git.example.org/site.git",
            "ssh://git@git.example.org:2222/site.git",
            "file:///srv/site.git",
            "git@git.example.org:team/site.git",
        ]),
    );
    check(
        &ParamType::GitUrl,
        &refused(&[
            "",
            "ext::sh -c true",
            "ssh://-oProxyCommand=true/x",
            "git@-oProxyCommand=x:y",
            "-u@h.org:x",
            "git@h.org:-x",
            "git://h.org/x",
            "file://h/x",
            "/srv/x",
            "https://u:p@h.org/x",
            "ssh://u:p@h.org/x",
            "ssh://h.org",
            "fd::17",
            "git@h.org:a b",
        ]),
    );
    check(&ParamType::PathOrGitUrl, &[("/srv//x/", Some("/srv/x")), ("git@h.org:x", Some("git@h.org:x"))]);
    check(&ParamType::PathOrGitUrl, &refused(&["x", "/", "/a/../b", "-x"]));
}

#[test]
fn p12_a_secret_is_never_an_ordinary_value_and_a_refusal_never_repeats_it() {
    let message = ParamType::Secret { bytes_max: 10 }.canonical("hunter2").unwrap_err();
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_refusal_says_what_to_write_and_never_echoes_control_characters() {
    let message = ParamType::Port.canonical("http").unwrap_err();
    assert_eq!(message, "`http` does not fit: expected a port from 1 to 65535");
    let message = ParamType::Cidr.canonical("192.0.2.7/24").unwrap_err();
    assert!(message.contains("write 192.0.2.0/24"), "{message}");
    for kind in [ParamType::Port, ParamType::Path, ParamType::Cron, ParamType::RelativePaths] {
        let message = kind.canonical("\u{1b}]0;x\u{7}").unwrap_err();
        assert!(!message.chars().any(char::is_control), "{message:?}");
    }
}
