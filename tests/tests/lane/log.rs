//! What the log tells of a run: a line alone says which attempt of what, on which server, for whom, and what went wrong.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use settled_tests::scripted::Play;
use tracing_subscriber::fmt::MakeWriter;

use super::{seconds, world};

/// Log lines as JSON, of this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// The lines with this text that tell of this run.
    fn of(&self, run: &str, text: &str) -> Vec<Value> {
        let all = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["run"] == run && line["message"] == text).collect()
    }
}

fn says(line: &Value, fields: &[(&str, &str)]) {
    for (field, value) in fields {
        assert_eq!(line[field], *value, "{field} of {line:#}");
    }
}

#[tokio::test]
async fn the_log_tells_each_attempt_and_each_settlement_whole() {
    let lines = Lines::default();
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_writer(lines.clone()).finish();
    let _guard = tracing::subscriber::set_default(log);
    let mut w = world(&["alpha"]).await;

    w.remote.script(
        "one",
        [Play::takes(seconds(5)).ending(settled_tests::scripted::End::Exit(1)), Play::exit(0)],
    );
    let id = w.install("alpha", "thing", "one").await.unwrap();
    w.until(id, seconds(1), |run| run.live_step().is_some()).await.unwrap();
    let common = [
        ("server", "alpha"),
        ("operation", "install"),
        ("principal", "unix:0"),
        ("resource", "one"),
        ("package", "thing"),
    ];
    let run = id.to_string();
    let starts = lines.of(&run, "attempt starts");
    assert_eq!(
        (starts.len(), &starts[0]["attempt"], &starts[0]["level"]),
        (1, &Value::from(1), &"INFO".into())
    );
    says(&starts[0], &common);
    assert!(lines.of(&run, "attempt ended").is_empty());

    w.end(id, seconds(60)).await.unwrap();
    assert_eq!(lines.of(&run, "attempt starts").len(), 2);
    let ended = lines.of(&run, "attempt ended");
    assert_eq!((ended.len(), &ended[0]["attempt"], &ended[0]["level"]), (1, &Value::from(1), &"WARN".into()));
    says(&ended[0], &common);
    assert!(ended[0]["error"].as_str().unwrap().contains("exit code 1"), "{}", ended[0]);
    let well = lines.of(&run, "attempt succeeded");
    assert_eq!((well.len(), &well[0]["attempt"], &well[0]["level"]), (1, &Value::from(2), &"INFO".into()));
    says(&well[0], &common);

    w.remote.script("two", [Play::takes(seconds(10_000))]);
    let id = w.install("alpha", "thing", "two").await.unwrap();
    w.until(id, seconds(1), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(1)).await.unwrap();
    w.remote.cut("alpha", seconds(100_000));
    w.end(id, seconds(1_000)).await.unwrap();
    let settled = lines.of(&id.to_string(), "settled by time");
    assert_eq!((settled.len(), &settled[0]["attempt"]), (1, &Value::from(1)));
    says(
        &settled[0],
        &[("server", "alpha"), ("principal", "unix:0"), ("resource", "two"), ("package", "thing")],
    );
    assert!(settled[0]["error"].as_str().unwrap().contains("nobody can prove"), "{}", settled[0]);
}
