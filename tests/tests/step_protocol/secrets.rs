//! Secrets stay secret (P12): in memory only, and gone with the verdict.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use settled::domain::step::{Cause, Ended};

use crate::bench::{Bench, exited, until};

const SECRET: &str = "correct-horse-battery-staple";

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("readable").flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path)),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

fn tells_the_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

#[tokio::test]
async fn p12_a_secret_is_a_file_in_memory_and_nowhere_else() {
    let bench = Bench::new().await;
    let mut spec = bench.spec("printf %s \"$SETTLED_SECRETS\"; wc -c <\"$SETTLED_SECRETS/token\"; sleep 60");
    spec.secrets.push(("token".to_owned(), SECRET.as_bytes().to_vec().into()));
    bench.start(&spec).await;
    let news = until_output(&bench, &spec, b"\n").await;
    let told = String::from_utf8(news).expect("text");
    let (folder, size) = told.trim().split_at(told.trim().len() - 2);
    assert_eq!(size, SECRET.len().to_string());
    assert_eq!(std::fs::metadata(folder).expect("there").permissions().mode() & 0o777, 0o700);
    let token = Path::new(folder).join("token");
    assert_eq!(std::fs::metadata(&token).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(&token).expect("there"), SECRET);

    for file in files(bench.dir.path()) {
        assert!(!tells_the_secret(&std::fs::read(&file).unwrap_or_default()), "on disk: {}", file.display());
    }
    for process in std::fs::read_dir("/proc").expect("/proc").flatten() {
        if process.file_name().to_string_lossy() == std::process::id().to_string() {
            continue;
        }
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(process.path().join(file)).unwrap_or_default();
            assert!(!tells_the_secret(&bytes), "in {}/{file}", process.path().display());
        }
    }

    bench.cancel(spec.id).await;
    assert_eq!(bench.follow(spec.id).await.0, exited(143, Cause::Cancel));
    until(|| (!Path::new(folder).exists()).then_some(())).await;
}

#[tokio::test]
async fn p12_secrets_of_a_rejected_step_go_away_too() {
    let bench = Bench::new().await;
    let first = bench.spec("sleep 60");
    bench.start(&first).await;
    let mut spec = bench.spec("true");
    spec.secrets.push(("token".to_owned(), SECRET.as_bytes().to_vec().into()));
    let (ended, _) = bench.run(&spec).await;
    assert_eq!(ended, Ended::Rejected { why: "lane-busy".to_owned() });
    let left = || {
        let name = format!("settled-step-{}", spec.id);
        let folders = ["/run", "/dev/shm"]
            .into_iter()
            .flat_map(|dir| std::fs::read_dir(dir).expect("readable").flatten());
        folders.filter(|entry| entry.file_name().to_string_lossy().starts_with(&name)).count()
    };
    until(|| (left() == 0).then_some(())).await;
}

#[tokio::test]
async fn p12_secrets_are_taken_anew_when_a_step_is_sent_again() {
    let bench = Bench::new().await;
    let mut spec = bench.spec("cat \"$SETTLED_SECRETS/token\"");
    spec.secrets.push(("token".to_owned(), b"old".to_vec().into()));
    bench.leave_accepted(&spec).await;
    spec.secrets[0].1 = b"new".to_vec().into();
    let (ended, news) = bench.run(&spec).await;
    assert_eq!((ended, news.output.as_slice()), (exited(0, Cause::Itself), b"new".as_slice()));
}

/// Output up to `end`.
async fn until_output(bench: &Bench, spec: &settled::remote::StepSpec, end: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    while !output.ends_with(end) {
        let news = bench.attach(spec.id, output.len() as u64, Duration::from_secs(5)).await;
        output.extend(news.output);
    }
    output
}
