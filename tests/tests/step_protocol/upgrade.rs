//! Upgrades: what an earlier settled has started on a server, today's one follows, cancels, reads and clears away.
//!
//! `frozen/1/` holds the texts of format 1 as they were first sent; they are never edited. A new format gets a directory of its own.

use std::path::PathBuf;
use std::time::Duration;

use settled::domain::step::{Cause, Ended};
use settled::remote::exec::Exec as _;
use settled::remote::{Remote, RemoteError, StepSpec, StepStatus};
use sha2::{Digest as _, Sha256};

use crate::bench::{Bench, PATIENCE, exited, kill, role, until};

const BASE: &str = include_str!("frozen/1/base.sh");
const RUN: &str = include_str!("frozen/1/run.sh");
const SERVER: &str = include_str!("frozen/1/server.sh");
const DPKG: &str = include_str!("frozen/1/dpkg.sh");
const VERBS: &str = include_str!("frozen/1/verbs.sh");

/// The settled of then, as far as a server saw it.
struct Before<'a>(&'a Bench);

impl Before<'_> {
    /// Sends a verb of the frozen texts with its data, and gives what it answered.
    async fn ask(&self, verb: &str, data: &str) -> String {
        let bench = self.0;
        let text = format!(
            "{texts}nonce='0000000000000001'\nstate_dir={state}\nshell={shell}\ndpkg_locks={lock}\n{data}\
             {{ printf '\\n'; {verb}_verb; exit; }} </dev/null\n",
            texts = compact(&[BASE, SERVER, DPKG, VERBS]),
            state = quoted(&bench.path("state").display().to_string()),
            shell = quoted(&bench.path("sh").display().to_string()),
            lock = quoted(&bench.path("dpkg-lock").display().to_string()),
        );
        let answer = bench.local().exec(&bench.target, text.as_bytes(), 1 << 20, PATIENCE).await;
        String::from_utf8(answer.expect("an answer").stdout).expect("text")
    }

    async fn claim(&self) {
        let data = format!("installation={}\nepoch=1\n", self.0.installation);
        let answer = self.ask("claim", &data).await;
        assert!(answer.contains(" claimed 1\n"), "{answer}");
    }

    async fn start(&self, spec: &StepSpec) {
        let exported =
            |(name, value): &(String, String)| [name, "=", &quoted(value), "\nexport ", name, "\n"].concat();
        let environment = spec.env.iter().map(exported).collect::<Vec<_>>().concat();
        let data = format!(
            "id={id}\nepoch={epoch}\ndigest={digest}\nneeds_dpkg=0\nlimits={limits}\nenvironment={environment}\n\
             script={script}\nrun={run}\nsecret_count=0\nsecrets() {{\n  return 0\n}}\n",
            id = spec.id,
            epoch = spec.epoch,
            digest = digest(spec),
            limits = quoted(&limits(spec)),
            environment = quoted(&environment),
            script = quoted(&spec.script),
            run = quoted(&compact(&[BASE, RUN])),
        );
        let answer = self.ask("start", &data).await;
        assert!(answer.contains(&format!(" step {} running ", spec.id)), "{answer}");
    }
}

/// Comments did not travel.
fn compact(texts: &[&str]) -> String {
    let lines = texts.iter().flat_map(|text| text.lines());
    let travel = lines.filter(|line| !line.trim_start().starts_with('#') && !line.is_empty());
    travel.flat_map(|line| [line, "\n"]).collect()
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn limits(spec: &StepSpec) -> String {
    let limits = &spec.limits;
    format!(
        "{} {} {}",
        limits.timeout.as_millis() / 10,
        limits.grace.as_millis() / 10,
        limits.output_bytes_max
    )
}

fn digest(spec: &StepSpec) -> String {
    let mut hash = Sha256::new();
    let env = spec.env.iter().flat_map(|(name, value)| [name.clone(), value.clone()]);
    for part in [spec.script.clone(), limits(spec)].into_iter().chain(env) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// A server as the settled of then has left it, with a step that waits for its gate.
async fn left_behind() -> (Bench, StepSpec, PathBuf) {
    let bench = Bench::unclaimed("/bin/sh".as_ref());
    let before = Before(&bench);
    before.claim().await;
    let gate = bench.path("gate");
    let mut spec = bench.spec("echo port=80 >\"$SETTLED_OUTPUT\"; echo up; while [ ! -e \"$P_GATE\" ]; do sleep 0.02; done; echo down; exit 4");
    spec.env.push(("P_GATE".to_owned(), gate.display().to_string()));
    before.start(&spec).await;
    // Today's daemon comes: with a higher epoch, as each takes the lane anew.
    bench.steps.claim(&bench.target, bench.installation, 2).await.expect("claimed");
    (bench, spec, gate)
}

#[tokio::test]
async fn p5_a_step_from_before_an_upgrade_is_attached_read_and_cleared_away() {
    let (bench, spec, gate) = left_behind().await;
    let listed = bench.steps.list(&bench.target).await.expect("an answer");
    assert_eq!((listed.len(), listed[0].0, &listed[0].1.status), (1, spec.id, &StepStatus::Running));
    let first = bench.attach(spec.id, 0, PATIENCE).await;
    assert_eq!(first.output, b"up\n");

    // Sent again, because the answer was lost, it is the same step with the same digest.
    let again = StepSpec { epoch: 2, ..spec.clone() };
    assert_eq!(bench.start(&again).await.status, StepStatus::Running);

    std::fs::write(&gate, "").expect("written");
    let (ended, news) = bench.follow(spec.id).await;
    assert_eq!((ended, news.output.as_slice()), (exited(4, Cause::Itself), b"up\ndown\n".as_slice()));
    assert_eq!(news.report.result, b"port=80\n");
    bench.steps.reap(&bench.target, spec.id, 2).await.expect("cleared away");
    assert_eq!(bench.attach(spec.id, 0, Duration::ZERO).await.report.status, StepStatus::Reaped);
}

#[tokio::test]
async fn p9_a_step_from_before_an_upgrade_is_cancelled() {
    let (bench, spec, _) = left_behind().await;
    bench.steps.cancel(&bench.target, spec.id, 2).await.expect("an answer");
    assert_eq!(bench.follow(spec.id).await.0, exited(143, Cause::Cancel));
    assert_eq!(Bench::processes_of(spec.id), Vec::<i32>::new());
}

#[tokio::test]
async fn p5_a_step_from_before_an_upgrade_gets_a_guard_when_its_supervisor_is_dead() {
    let (bench, spec, _) = left_behind().await;
    let dir = bench.step_dir(spec.id);
    kill(until(|| role(&dir, "sup")).await);
    bench.steps.cancel(&bench.target, spec.id, 2).await.expect("an answer");
    assert_eq!(bench.follow(spec.id).await.0, exited(143, Cause::Cancel));
}

#[tokio::test]
async fn p3_a_step_from_before_an_upgrade_keeps_the_lane() {
    let (bench, spec, gate) = left_behind().await;
    let mut next = bench.spec("true");
    next.epoch = 2;
    let (ended, _) = bench.run(&next).await;
    let Ended::Rejected { why } = ended else { panic!("{ended:?}") };
    assert!(why.starts_with("lane-busy"), "{why}");
    std::fs::write(&gate, "").expect("written");
    bench.follow(spec.id).await;
}

#[tokio::test]
async fn an_unknown_format_is_refused_by_name() {
    let bench = Bench::new().await;
    std::fs::write(bench.path("state/format"), "7\n").expect("written");
    let error = bench.steps.list(&bench.target).await.expect_err("a refusal");
    let RemoteError::Refused(sentence) = error else { panic!("{error:?}") };
    assert!(sentence.contains("format '7'") && sentence.contains("update settled"), "{sentence}");
}
