//! The example lifecycles of the documentation, whole: each stage fails and is repeated, and the daemon is killed all along the way.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use settled::catalog::Catalog;
use settled::domain::enrollment::State;
use settled::engine::Install;
use settled_tests::scripted::Play;
use settled_tests::sim::{Actor, Kill, knobs};

use super::*;

/// An example: its text, its subject, what it begins with, and what its stages do in the log when nothing goes wrong.
struct Example {
    code: &'static str,
    source: &'static str,
    subject: &'static str,
    payload: &'static str,
    /// Stages whose action is a run that can fail.
    runs: &'static [&'static str],
    log: &'static [&'static str],
}

const EXAMPLES: [Example; 3] = [
    Example {
        code: "server-onboarding",
        source: include_str!("../../../../docs/lifecycles/server-onboarding.toml"),
        subject: "server/alpha",
        payload: "",
        runs: &["inventory", "firewall", "web"],
        log: &["inventory succeeded", "firewall succeeded", "approval succeeded", "web succeeded"],
    },
    Example {
        code: "certificate-renewal",
        source: include_str!("../../../../docs/lifecycles/certificate-renewal.toml"),
        subject: "resource/alpha/tls_certificate/shop",
        payload: "",
        runs: &["renew"],
        log: &["renew succeeded", "check succeeded", "tell succeeded"],
    },
    Example {
        code: "zero-downtime-deployment",
        source: include_str!("../../../../docs/lifecycles/zero-downtime-deployment.toml"),
        subject: "resource/alpha/deployment/shop",
        payload: r#"{"release":"43"}"#,
        runs: &["release", "health"],
        log: &["release succeeded", "health succeeded", "verdict succeeded"],
    },
];

impl Example {
    /// A world in which its subject is there, enrolled.
    async fn begin(&self) -> House {
        let mut w = World::with(1, knobs(), Catalog::builtin().unwrap()).await.unwrap();
        w.server("alpha").await.unwrap();
        w.remote.put("alpha", "shop", "1\nfact.days_left=12");
        let mut h = House { w, code: self.code };
        let parts: Vec<_> = self.subject.split('/').collect();
        if let ["resource", _, package, name] = parts[..] {
            h.install(package, name).await;
        }
        h.apply(self.source).await;
        let (lifecycle, payload) = (self.code.to_owned(), self.payload.to_owned());
        h.enroll_as(Enroll { lifecycle, payload, ..enroll(self.subject) }).await.unwrap();
        h
    }

    /// Everything that people, workers and time do for it, once.
    async fn help(&self, h: &mut House) {
        let now = h.enrollment(self.subject).await;
        if now.stage == "check" {
            // The new certificate is there, and as it was asked for.
            let facts = "fact.domains=shop.example.org\nfact.source=self_signed\nfact.as_asked=true\nfact.due_for_renewal=false";
            h.w.remote.put("alpha", "shop", &format!("2\n{facts}\nfact.days_left=80"));
        }
        match &now.state {
            State::Working { work: Work::Approval { .. }, .. } => {
                h.change(self.subject, approve()).await.unwrap();
            }
            State::Working { work: Work::Offer { .. }, .. } => {
                let task = h.take("certificates").await.unwrap();
                h.done(task, Done::Completed(String::new())).await.unwrap();
            }
            State::Waiting { due } => {
                let at = h.w.clock.monotonic() + due.since(h.w.clock.now());
                h.w.move_to(at);
            }
            State::Working { .. } | State::Completed { .. } | State::Failed { .. } => {}
        }
    }
}

impl House {
    async fn install(&mut self, package: &str, name: &str) {
        let values: &[(&str, &str)] = match package {
            "deployment" => &[("path", "/srv/shop"), ("source", "/srv/source"), ("release", "42")],
            _ => &[("domains", "shop.example.org")],
        };
        let parameters: BTreeMap<_, _> =
            values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let ask = Install { parameters, ..settled_tests::sim::install("alpha", package, name) };
        let asked = self.w.asked("Resources.Install");
        let answer = self.w.daemon.engine.install(asked, ask).await.unwrap();
        let run = answer.run.unwrap().id.parse().unwrap();
        super::super::succeeded(&self.w.end(run, seconds(60)).await.unwrap());
    }

    /// What became of the stages, without the number of the execution.
    async fn outcomes(&self) -> Vec<String> {
        self.executions().await.iter().map(|row| format!("{} {}", row.stage, row.outcome)).collect()
    }
}

#[tokio::test]
async fn every_stage_of_every_example_fails_and_is_repeated() {
    for example in &EXAMPLES {
        let mut h = Box::pin(example.begin()).await;
        let mut first: HashMap<String, RunId> = HashMap::new();
        h.w.remote.decide(move |_, spec| {
            let name = spec.env.iter().find(|(name, _)| name == "SETTLED_NAME").map(|(_, name)| name.clone());
            let run = *first.entry(name.unwrap_or_default()).or_insert(spec.id.run);
            Play::exit(i32::from(run == spec.id.run))
        });
        for _ in 0..40 {
            h.works().await;
            if h.status(example.subject).await == Status::Completed {
                break;
            }
            example.help(&mut h).await;
        }
        let done = h.enrollment(example.subject).await;
        assert_eq!(done.status(), Status::Completed, "{}: {done:#?}\n{:?}", example.code, h.outcomes().await);
        let mut expected = Vec::new();
        for line in example.log {
            let stage = line.split(' ').next().unwrap();
            if example.runs.contains(&stage) {
                expected.push(format!("{stage} failed"));
            }
            expected.push((*line).to_owned());
        }
        assert_eq!(h.outcomes().await, expected, "{}", example.code);
    }
}

#[tokio::test]
async fn p5_the_daemon_is_killed_all_along_every_example_and_nothing_runs_twice() {
    for example in &EXAMPLES {
        for offset in 0..3 {
            let mut h = Box::pin(example.begin()).await;
            let mut steps: usize = offset;
            for _ in 0..60 {
                h.look().await;
                h.w.restart().await.unwrap();
                // Every third step of a lane is the daemon's last, right after it has committed.
                while h.open_runs().await > 0 {
                    let Some(actor) = h.w.daemon.runnable().first().copied() else {
                        let due = h.w.daemon.next_due();
                        h.w.move_to(due);
                        continue;
                    };
                    steps += usize::from(matches!(actor, Actor::Lane(_)));
                    let dies = matches!(actor, Actor::Lane(_)) && steps.is_multiple_of(3);
                    let kill = if dies { Kill::AfterCommit(1) } else { Kill::Never };
                    h.w.step(actor, kill).await.unwrap();
                }
                h.look().await;
                if h.status(example.subject).await == Status::Completed {
                    break;
                }
                example.help(&mut h).await;
            }
            let done = h.enrollment(example.subject).await;
            assert_eq!(
                done.status(),
                Status::Completed,
                "{}: {done:#?}\n{:?}",
                example.code,
                h.outcomes().await
            );
            assert_eq!(h.outcomes().await, example.log, "{}", example.code);
            let ran: Vec<_> = h.w.remote.witness().into_iter().map(|execution| execution.id).collect();
            assert_eq!(ran.iter().collect::<BTreeSet<_>>().len(), ran.len(), "{}", example.code);
        }
    }
}
