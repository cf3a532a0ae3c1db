//! The text form of Prometheus, version 0.0.4: families of samples, each with its help and type.

use std::fmt::Write as _;

use crate::figures::Reading;

/// Text in the making.
#[derive(Default)]
pub(super) struct Text(String);

/// Labels with their values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Text {
    /// What only goes up. Its name ends with `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// What goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// How values are spread.
    pub(super) fn histogram(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) -> Family<'_> {
        let text = &mut self.0;
        put(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text, name: name.to_owned() }
    }

    /// The whole.
    pub(super) fn done(self) -> String {
        self.0
    }
}

/// A family whose samples follow.
pub(super) struct Family<'t> {
    text: &'t mut String,
    name: String,
}

impl Family<'_> {
    /// One value.
    pub(super) fn value(&mut self, labels: Labels<'_>, value: f64) -> &mut Self {
        self.sample("", labels, None, value);
        self
    }

    /// How many of something.
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 of anything here")]
    pub(super) fn count(&mut self, labels: Labels<'_>, n: u64) -> &mut Self {
        self.value(labels, n as f64)
    }

    /// A spread.
    #[expect(clippy::cast_precision_loss, reason = "nothing here is measured 2^52 times")]
    pub(super) fn spread(&mut self, labels: Labels<'_>, reading: &Reading) -> &mut Self {
        for (border, count) in &reading.below {
            self.sample("_bucket", labels, Some(&border.to_string()), *count as f64);
        }
        self.sample("_bucket", labels, Some("+Inf"), reading.count as f64);
        self.sample("_sum", labels, None, reading.sum);
        self.sample("_count", labels, None, reading.count as f64);
        self
    }

    fn sample(&mut self, suffix: &str, labels: Labels<'_>, border: Option<&str>, value: f64) {
        put(self.text, format_args!("{}{suffix}", self.name));
        let all = labels.iter().copied().chain(border.map(|border| ("le", border)));
        let mut before = '{';
        for (label, value) in all {
            put(self.text, format_args!("{before}{label}=\"{}\"", escaped(value)));
            before = ',';
        }
        put(self.text, format_args!("{} {value}\n", if before == ',' { "}" } else { "" }));
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = text.write_fmt(what);
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::figures::Spread;

    #[test]
    fn families_read_as_prometheus_wants_them() {
        let spread = Spread::new(&[0.5, 1.0]);
        spread.took(Duration::from_millis(750));
        let mut text = Text::default();
        text.counter("a_total", "As").count(&[("of", "x\"y\\z\n")], 3);
        text.gauge("b", "Bs").value(&[], 0.25);
        text.histogram("c_seconds", "Cs").spread(&[("by", "z")], &spread.read());
        let expected = "# HELP a_total As\n# TYPE a_total counter\na_total{of=\"x\\\"y\\\\z\\n\"} 3\n\
            # HELP b Bs\n# TYPE b gauge\nb 0.25\n\
            # HELP c_seconds Cs\n# TYPE c_seconds histogram\n\
            c_seconds_bucket{by=\"z\",le=\"0.5\"} 0\nc_seconds_bucket{by=\"z\",le=\"1\"} 1\n\
            c_seconds_bucket{by=\"z\",le=\"+Inf\"} 1\nc_seconds_sum{by=\"z\"} 0.75\nc_seconds_count{by=\"z\"} 1\n";
        assert_eq!(text.done(), expected);
    }
}
