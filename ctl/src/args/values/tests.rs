use super::*;

fn args(set: &[&str], secret: &[&str]) -> ValueArgs {
    ValueArgs {
        set: set.iter().map(|s| pair(s).unwrap()).collect(),
        secret: secret.iter().map(|&s| s.to_owned()).collect(),
    }
}

#[test]
fn hosts_are_read() {
    let table = [
        ("web1.example.org", Some(("web1.example.org", None))),
        ("web1:2222", Some(("web1", Some(2222)))),
        ("192.0.2.7:22", Some(("192.0.2.7", Some(22)))),
        ("[2001:db8::7]", Some(("2001:db8::7", None))),
        ("[2001:db8::7]:65535", Some(("2001:db8::7", Some(65535)))),
        ("", None),
        (":22", None),
        ("web1:", None),
        ("web1:0", None),
        ("web1:65536", None),
        ("web1:ssh", None),
        ("2001:db8::7", None),
        ("[2001:db8::7", None),
        ("[2001:db8::7]22", None),
        ("[web1]:22", None),
    ];
    for (text, expected) in table {
        let expected = expected.map(|(host, port)| HostPort { host: host.to_owned(), port });
        assert_eq!(host_port(text).ok(), expected, "{text}");
    }
}

#[test]
fn what_is_no_host_is_told_what_is_wanted() {
    assert!(host_port("http://x").unwrap_err().starts_with("write HOST or HOST:PORT"));
    assert!(audit_number("abc").unwrap_err().contains("the number of an audit entry"));
}

#[test]
fn fingerprints_are_checked() {
    let good = format!("SHA256:{}", "Ab1+/".repeat(9).split_at(43).0);
    assert_eq!(host_key(&good), Ok(good.clone()));
    for wrong in ["", "SHA256:", "MD5:aa", &good[..49], &format!("{good}="), &good.replace('+', "-")] {
        assert!(host_key(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn times_are_read() {
    let table = [
        ("90", Some(90)),
        ("90s", Some(90)),
        ("15m", Some(900)),
        ("12h", Some(43_200)),
        ("2d", Some(172_800)),
        ("0", None),
        ("1w", None),
        ("h", None),
        ("-1s", None),
        ("99999d", None),
        ("1.5h", None),
    ];
    for (text, seconds) in table {
        assert_eq!(duration(text).ok(), seconds.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn positions_are_read() {
    let good = Position { generation: "01:GEN".into(), seq: 42 };
    assert_eq!(position("01:GEN:42"), Ok(good));
    for wrong in ["42", ":42", "GEN:", "GEN:x", "GEN:-1"] {
        assert!(position(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn settings_come_from_the_line_or_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("text");
    std::fs::write(&file, "two\nlines\n").unwrap();
    let from_file = format!("k=@{}", file.display());
    let table = [
        ("k=v", "v"),
        ("k=", ""),
        ("k=a=b", "a=b"),
        ("k=@@home", "@home"),
        (from_file.as_str(), "two\nlines\n"),
    ];
    for (text, value) in table {
        assert_eq!(args(&[text], &[]).parameters().unwrap()["k"], value, "{text}");
    }
    for wrong in ["k", "=v"] {
        assert!(pair(wrong).is_err(), "{wrong}");
    }
    let refusal = |text: &str| args(&[text], &[]).parameters().unwrap_err().lines[0].clone();
    assert!(refusal("k=@/does/not/exist").starts_with("--set k: /does/not/exist cannot be read"));
    assert!(refusal("k=@daily").contains("write '@@daily'"));
    std::fs::write(&file, [0xff]).unwrap();
    assert!(refusal(&from_file).contains("not text"));
    std::fs::write(&file, vec![b'x'; 64 * 1024 + 1]).unwrap();
    assert!(refusal(&from_file).contains("larger than 64 KiB"));
}

#[test]
fn p12_a_secret_never_stands_on_the_command_line_and_is_never_repeated() {
    for plain in ["token=hunter2", "token=@", "token="] {
        let error = args(&[], &[plain]).secrets().unwrap_err();
        let said = error.lines.join(" ");
        assert!(said.contains("every user of this machine"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    assert!(!args(&[], &["hunter2"]).secrets().unwrap_err().lines.join(" ").contains("hunter2"));
}

#[test]
fn a_secret_is_read_byte_by_byte() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, b"\xff\x00hunter2\n").unwrap();
    let typed = format!("token=@{}", file.display());
    let secrets = args(&[], &[&typed]).secrets().unwrap();
    assert_eq!(secrets["token"], b"\xff\x00hunter2\n");
}

#[test]
fn nothing_is_given_twice() {
    assert!(args(&["a=1", "a=2"], &[]).parameters().is_err());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "x").unwrap();
    let typed = format!("a=@{}", file.display());
    assert!(args(&["a=1"], &[&typed]).secrets().is_err());
    assert!(args(&[], &[&typed, &typed]).secrets().is_err());
}

#[test]
fn a_public_key_is_no_identity() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("id.pub");
    std::fs::write(&file, "ssh-ed25519 AAAA me\n").unwrap();
    assert!(identity(&file).unwrap_err().lines[0].contains("public key"));
    std::fs::write(&file, "").unwrap();
    assert!(identity(&file).unwrap_err().lines[0].contains("empty"));
    std::fs::write(&file, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
    assert!(identity(&file).is_ok());
    std::fs::remove_file(&file).unwrap();
    for (error, flag) in [
        (identity(&file).unwrap_err(), "--identity: "),
        (one_secret(&file).unwrap_err(), "--secret-file: "),
        (args(&[], &[&format!("k=@{}", file.display())]).secrets().unwrap_err(), "--secret k: "),
    ] {
        assert!(error.lines[0].starts_with(flag), "{flag}: {:?}", error.lines);
    }
}
