//! What was measured: lines for people, and one JSON object each for programs.

use std::time::Duration;

/// All measurements of a run.
#[derive(Default)]
pub(crate) struct Report(Vec<Line>);

struct Line {
    what: String,
    engine: &'static str,
    numbers: Vec<(&'static str, f64)>,
}

impl Report {
    /// Notes a measurement, and tells it at once.
    pub(crate) fn add(
        &mut self,
        what: impl Into<String>,
        engine: &'static str,
        numbers: Vec<(&'static str, f64)>,
    ) {
        let line = Line { what: what.into(), engine, numbers };
        println!("{}", line.json());
        self.0.push(line);
    }

    /// The table.
    pub(crate) fn print(&self) {
        println!("\n{:<34} {:<9} numbers", "measurement", "engine");
        for line in &self.0 {
            let numbers: Vec<_> =
                line.numbers.iter().map(|(name, value)| format!("{name} {value:.1}")).collect();
            println!("{:<34} {:<9} {}", line.what, line.engine, numbers.join("  "));
        }
    }
}

impl Line {
    fn json(&self) -> String {
        let mut object = serde_json::Map::new();
        object.insert("bench".to_owned(), self.what.clone().into());
        object.insert("engine".to_owned(), self.engine.into());
        object.extend(self.numbers.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        serde_json::Value::Object(object).to_string()
    }
}

/// So many in this time, per second.
pub(crate) fn rate(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

/// The middle and the 99th hundredth of these, in milliseconds.
pub(crate) fn spread(mut times: Vec<Duration>) -> [(&'static str, f64); 2] {
    times.sort_unstable();
    let at = |hundredth: usize| {
        times.get(times.len().saturating_sub(1) * hundredth / 100).copied().unwrap_or_default()
    };
    [("p50_ms", at(50).as_secs_f64() * 1e3), ("p99_ms", at(99).as_secs_f64() * 1e3)]
}
