//! What schedules do to enrollments, through `settlectl`: they enrol, and they clean up what is old, on a daemon that is started later.

use std::time::Duration;

use serde_json::{Value, json};
use settled_tests::daemon;
use settled_tests::patience::until;

use crate::lifecycles::{House, top};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_enrolls_who_has_the_label_again_and_again_until_it_is_paused_and_then_by_hand() {
    let h = House::start().await;
    let trace = h.trace("lines");
    let script = format!("echo \"$P_SUBJECT_ID $P_PAYLOAD\" >>'{}'", trace.display());
    h.apply(&[top(""), h.script("one", "", &script)].concat()).await;
    h.ok(&["server", "edit", "web", "--label", "tier=web"]).await;
    let add = ["schedule", "add", "again", "* * * * * *", "--enroll", "c", "--label", "tier=web", "--again"];
    h.ok(&[&add[..], &["--payload", "{\"a\":1}"]].concat()).await;
    let lines = || std::fs::read_to_string(&trace).unwrap_or_default().lines().count();
    until("it worked twice", async || (lines() >= 2).then_some(())).await;
    h.ok(&["schedule", "pause", "again"]).await;
    let first = h.becomes("server/web", "completed").await;
    let story = h.ok(&["schedule", "show", "again", "--history", "500"]).await;
    let occurrences = story["occurrences"].as_array().unwrap();
    let fired: Vec<&Value> = occurrences.iter().filter(|o| o["fate"] == "fired").collect();
    assert!(fired.iter().all(|o| o["enrollment_ids"] == json!([first["id"]])), "{story:#}");
    let succeeded =
        async || h.log("server/web").await.iter().filter(|line| *line == "one 1 succeeded").count();
    assert_eq!(
        (fired.len(), succeeded().await),
        (lines(), lines()),
        "each occurrence has worked once: {story:#}"
    );

    let before = lines();
    let by_hand = h.ok(&["schedule", "fire", "again"]).await;
    assert_eq!(by_hand["occurrence"]["enrollment_ids"], json!([first["id"]]), "{by_hand:#}");
    assert!(by_hand["occurrence"]["principal"].as_str().unwrap().starts_with("unix:"), "{by_hand:#}");
    until("it works by hand", async || (lines() == before + 1).then_some(())).await;
    h.becomes("server/web", "completed").await;
    let told = std::fs::read_to_string(&trace).unwrap();
    assert!(told.lines().all(|line| line == "web {\"a\":1}"), "{told}");
    h.ok(&["schedule", "remove", "again"]).await;
    assert_eq!(h.show("server/web").await["status"], "completed", "what it has enrolled stays");
}

impl House {
    /// The daemon is stopped, and started again so long after the beginning.
    async fn is_later(&mut self, days: u32) {
        let (stopped, home) = self.daemon.take().unwrap().stop().await;
        stopped.unwrap();
        self.daemon = Some(daemon::Options::default().later(DAY * days).start_in(home).await);
    }

    async fn counts(&self) -> (u64, u64) {
        let counted = self.ok(&["lifecycle", "clean", "--dry-run"]).await;
        (counted["enrollments"].as_u64().unwrap(), counted["executions"].as_u64().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn completed_enrollments_go_after_30_days_and_their_log_after_90_and_a_dry_run_only_counts() {
    let mut h = House::start().await;
    for chore in ["settled.clean_enrollments", "settled.clean_executions"] {
        h.ok(&["schedule", "pause", chore]).await;
    }
    let stage = "[[stages]]\nname = \"one\"\nmax_wait = \"366d\"\naction = { approval = \"Well?\" }\n";
    h.apply(&(top("") + stage)).await;
    for subject in ["user/1", "user/2"] {
        h.ok(&["enroll", "c", subject]).await;
        h.becomes(subject, "processing").await;
    }
    let done = h.ok(&["enrollment", "approve", "c/user/1"]).await;
    let id = done["id"].as_str().unwrap();
    h.is_later(29).await;
    assert_eq!(h.counts().await, (0, 0));
    h.is_later(31).await;
    assert_eq!(h.counts().await, (1, 0));
    assert_eq!(h.show("user/1").await["status"], "completed", "a dry run only counts");
    assert_eq!(h.ok(&["lifecycle", "clean"]).await, json!({ "enrollments": 1, "executions": 0 }));
    assert_eq!(h.says(&["enrollment", "show", "c/user/1"]).await.0, 4, "it is gone");
    assert_eq!(h.show("user/2").await["status"], "processing", "who is under way stays");
    let log = h.ok(&["enrollment", "show", id, "--log"]).await;
    assert_eq!(log["executions"].as_array().unwrap().len(), 1, "its log is kept for longer");
    h.is_later(91).await;
    assert_eq!(h.counts().await, (0, 1));
    h.ok(&["schedule", "resume", "settled.clean_executions"]).await;
    h.ok(&["schedule", "fire", "settled.clean_executions"]).await;
    until("the next tick does it", async || {
        let story = h.ok(&["schedule", "show", "settled.clean_executions"]).await;
        let told = story["occurrences"][0]["why"].as_str().unwrap_or_default().to_owned();
        (told == "1 old records were removed").then_some(())
    })
    .await;
    assert_eq!(h.counts().await, (0, 0));
}
