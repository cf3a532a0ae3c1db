//! What the log tells of a run: a line alone says which attempt of what, on which server, for whom, and what went wrong.

use std::cell::RefCell;
use std::io;

use serde_json::Value;
use settled_tests::scripted::Play;

use super::{seconds, world};

thread_local! {
    /// What was logged on this thread, as JSON. Everything that a test moves runs on its own.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes to the log of the thread that it is used on.
struct OfThisThread;

impl io::Write for OfThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines of this thread with this text that tell of this run.
fn lines(run: &str, text: &str) -> Vec<Value> {
    let all = String::from_utf8(LOGGED.with_borrow(Clone::clone)).unwrap();
    let lines = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["run"] == run && line["message"] == text).collect()
}

fn says(line: &Value, fields: &[(&str, &str)]) {
    for (field, value) in fields {
        assert_eq!(line[field], *value, "{field} of {line:#}");
    }
}

#[tokio::test]
async fn the_log_tells_each_attempt_and_each_settlement_whole() {
    // For the whole process: whether a line is wanted is remembered for all threads, so one of a thread alone may go unheard.
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(|| OfThisThread).init();
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
    let starts = lines(&run, "attempt starts");
    assert_eq!(
        (starts.len(), &starts[0]["attempt"], &starts[0]["level"]),
        (1, &Value::from(1), &"INFO".into())
    );
    says(&starts[0], &common);
    assert!(lines(&run, "attempt ended").is_empty());

    w.end(id, seconds(60)).await.unwrap();
    assert_eq!(lines(&run, "attempt starts").len(), 2);
    let ended = lines(&run, "attempt ended");
    assert_eq!((ended.len(), &ended[0]["attempt"], &ended[0]["level"]), (1, &Value::from(1), &"WARN".into()));
    says(&ended[0], &common);
    assert!(ended[0]["error"].as_str().unwrap().contains("exit code 1"), "{}", ended[0]);
    let well = lines(&run, "attempt succeeded");
    assert_eq!((well.len(), &well[0]["attempt"], &well[0]["level"]), (1, &Value::from(2), &"INFO".into()));
    says(&well[0], &common);

    w.remote.script("two", [Play::takes(seconds(10_000))]);
    let id = w.install("alpha", "thing", "two").await.unwrap();
    w.until(id, seconds(1), |run| run.live_step().is_some()).await.unwrap();
    w.go(seconds(1)).await.unwrap();
    w.remote.cut("alpha", seconds(100_000));
    w.end(id, seconds(1_000)).await.unwrap();
    let settled = lines(&id.to_string(), "settled by time");
    assert_eq!((settled.len(), &settled[0]["attempt"]), (1, &Value::from(1)));
    says(
        &settled[0],
        &[("server", "alpha"), ("principal", "unix:0"), ("resource", "two"), ("package", "thing")],
    );
    assert!(settled[0]["error"].as_str().unwrap().contains("nobody can prove"), "{}", settled[0]);
}
