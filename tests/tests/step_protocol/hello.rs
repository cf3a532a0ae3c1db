//! First contact, and who may come.

use settled::clock::{Clock, SystemClock};
use settled::domain::id::InstallationId;
use settled::remote::{Remote, RemoteError};

use crate::bench::Bench;

#[tokio::test]
async fn hello_tells_who_the_server_is() {
    let bench = Bench::new().await;
    let hello = bench.steps.hello(&bench.target).await.expect("an answer");
    assert_eq!(hello.machine_id, std::fs::read_to_string("/etc/machine-id").expect("readable").trim());
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("readable");
    assert_eq!(hello.boot_id, boot_id.trim());
    assert_eq!((hello.epoch, hello.installation), (1, Some(bench.installation.to_string())));
    let number = |fact: &str| hello.facts[fact].parse::<i64>().expect("a number");
    assert!(number("clock_skew_ms").abs() < 3_000, "the same clock: {:?}", hello.facts);
    assert!(
        number("memory_bytes") > 1 << 20
            && number("disk_bytes") > number("free_bytes")
            && number("free_bytes") > 0
            && number("free_inodes") > 0
    );
    for fact in
        ["os", "os_version", "arch", "kernel", "init", "launcher", "sudo", "shell", "time_zone", "dpkg"]
    {
        assert!(!hello.facts[fact].is_empty(), "{fact} is empty");
    }
}

#[tokio::test]
async fn a_tool_that_is_missing_is_named_with_its_package() {
    let bench = Bench::with_shell(std::path::Path::new("/bin/sh")).await;
    // The protocol sets its own PATH: a shell that sees an empty one stands for a server without the tools.
    let shell = bench.path("bare");
    let text = "#!/bin/sh\nsed 's|^PATH=/usr.*|PATH=/nowhere|' | /bin/sh -s\n";
    std::fs::write(&shell, text).expect("written");
    std::fs::set_permissions(&shell, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("executable");
    let error = bench.through(&shell).hello(&bench.target).await.expect_err("a refusal");
    let RemoteError::Refused(sentence) = error else { panic!("{error:?}") };
    assert_eq!(sentence, "the server has no `base64`: install the package coreutils");
}

#[tokio::test]
async fn another_installation_is_refused_by_name() {
    let bench = Bench::new().await;
    let other = InstallationId(SystemClock::new().ulid());
    let error = bench.steps.claim(&bench.target, other, 9).await.expect_err("a refusal");
    let RemoteError::Refused(sentence) = error else { panic!("{error:?}") };
    assert!(sentence.contains(&bench.installation.to_string()), "{sentence}");
    assert!(sentence.ends_with("run `settlectl server takeover web1`"), "{sentence}");
    let hello = bench.steps.hello(&bench.target).await.expect("an answer");
    assert_eq!(hello.epoch, 1, "a refused claim changes nothing");
}

#[tokio::test]
async fn p3_a_takeover_fences_the_other_installation_off() {
    let bench = Bench::new().await;
    let spec = bench.spec("sleep 60");
    bench.start(&spec).await;
    let (other, theirs) =
        (bench.through(&bench.path("speaker/sh")), InstallationId(SystemClock::new().ulid()));
    let equal = other.take_over(&bench.target, theirs, 1).await;
    assert_eq!(equal, Err(RemoteError::Fenced { highest: 1 }));
    assert_eq!(other.take_over(&bench.target, theirs, 2).await.map(drop), Ok(()));

    let hello = bench.steps.hello(&bench.target).await.expect("an answer");
    assert_eq!((hello.epoch, hello.installation), (2, Some(theirs.to_string())));
    let fenced = RemoteError::Fenced { highest: 2 };
    assert_eq!(bench.steps.cancel(&bench.target, spec.id, 1).await, Err(fenced));
    let late = bench.steps.claim(&bench.target, bench.installation, 3).await;
    assert!(matches!(late, Err(RemoteError::Refused(_))), "{late:?}");
    assert_eq!(other.list(&bench.target).await.expect("an answer").len(), 1, "what runs is not forgotten");
}

#[tokio::test]
async fn a_higher_claim_stands_and_claiming_again_is_safe() {
    let bench = Bench::new().await;
    for _ in 0..2 {
        assert_eq!(bench.steps.claim(&bench.target, bench.installation, 4).await.map(drop), Ok(()));
    }
    let error = bench.steps.claim(&bench.target, bench.installation, 3).await;
    assert_eq!(error, Err(RemoteError::Fenced { highest: 4 }));
}

#[tokio::test]
async fn what_a_login_prints_before_the_answer_does_no_harm() {
    let bench = Bench::new().await;
    let shell = bench.path("chatty");
    let text =
        "#!/bin/sh\nprintf 'Welcome!\\nSETTLED1 0000000000000000 end\\nno line end'\nexec /bin/sh -s\n";
    std::fs::write(&shell, text).expect("written");
    std::fs::set_permissions(&shell, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("executable");
    assert_eq!(bench.through(&shell).list(&bench.target).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_shell_that_says_nothing_is_no_answer() {
    let bench = Bench::new().await;
    let error = bench.through("/bin/true".as_ref()).list(&bench.target).await.expect_err("no answer");
    assert!(matches!(error, RemoteError::Protocol(_)), "{error:?}");
}

async fn refusal(bench: &Bench) -> String {
    match bench.steps.hello(&bench.target).await {
        Err(RemoteError::Refused(sentence)) => sentence,
        other => panic!("{other:?} is no refusal"),
    }
}

#[tokio::test]
async fn debian_and_ubuntu_are_served_and_others_are_refused_by_name() {
    let at = tempfile::TempDir::new().expect("a directory");
    let file = at.path().join("os-release");
    let bench = Bench::laid_out("/bin/sh".as_ref(), |layout| {
        layout.os_release = vec!["/nowhere".to_owned(), file.display().to_string()];
    });
    let run = |text: &str| std::fs::write(&file, text).expect("written");
    run("ID=alpine\nVERSION_ID=3.20.3\nPRETTY_NAME=\"Alpine Linux v3.20\"\n");
    assert_eq!(refusal(&bench).await, "the server runs Alpine Linux v3.20: settled serves Debian and Ubuntu");
    run("NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\nPRETTY_NAME='Linux Mint 22'\n");
    assert_eq!(refusal(&bench).await, "the server runs Linux Mint 22: settled serves Debian and Ubuntu");
    run("ID=gentoo\n");
    assert_eq!(refusal(&bench).await, "the server runs gentoo: settled serves Debian and Ubuntu");
    run("");
    assert!(refusal(&bench).await.starts_with("the server does not say what it runs"));
    for (id, version) in [("debian", "12"), ("ubuntu", "26.04")] {
        run(&format!("ID={id}\nVERSION_ID=\"{version}\"\nPRETTY_NAME=\"It {version}\"\n"));
        let facts = bench.steps.hello(&bench.target).await.expect("it is served").facts;
        assert_eq!(
            (&*facts["os"], &*facts["os_version"], &*facts["os_name"]),
            (id, version, &*format!("It {version}"))
        );
    }
}

#[tokio::test]
async fn a_shell_that_the_protocol_is_not_tried_in_is_refused_by_name() {
    let at = tempfile::TempDir::new().expect("a directory");
    let odd = at.path().join("mksh");
    std::fs::copy("/bin/sh", &odd).expect("copied");
    let bench = Bench::laid_out("/bin/sh".as_ref(), |layout| layout.shell = odd.display().to_string());
    let sentence = refusal(&bench).await;
    assert!(sentence.contains("is mksh: settled works with dash, bash and busybox"), "{sentence}");
}

#[tokio::test]
async fn p4_who_holds_the_lane_is_told() {
    let bench = Bench::new().await;
    let hello = bench.steps.hello(&bench.target).await.expect("an answer");
    assert_eq!(hello.facts.get("lane"), None);
    let spec = bench.spec("exec sleep 60");
    bench.start(&spec).await;
    let payload = bench.noted_pid(spec.id, "payload").await;
    crate::bench::until(|| (comm(payload) == "sleep").then_some(())).await;
    let told = &bench.steps.hello(&bench.target).await.expect("an answer").facts["lane"];
    assert!(told.starts_with(&format!("step {}, for ", spec.id)), "{told}");
    assert!(told.ends_with(&format!(": {payload} sleep")), "{told}");
}

fn comm(pid: i32) -> String {
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    comm.trim().to_owned()
}
