//! Words for times, sizes and foreign text.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Makes text from elsewhere harmless for a terminal and one line long: control characters become spaces.
pub(crate) fn clean(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.trim_end().to_owned()
}

/// Lines of foreign text, each made harmless. A carriage return begins its line anew, as it does on a terminal.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(line)
}

/// One line of foreign text; tabs stay.
pub(crate) fn line(text: &str) -> String {
    let text = text.trim_end_matches('\r');
    let last = text.rsplit('\r').next().unwrap_or(text);
    last.chars().filter(|&c| c == '\t' || !c.is_control()).collect()
}

/// The first sentence or line of a text, at most `max` characters.
pub(crate) fn short(text: &str, max: usize) -> String {
    let text = clean(text.lines().next().unwrap_or(""));
    if text.chars().count() <= max {
        return text;
    }
    let cut: String = text.chars().take(max.saturating_sub(3)).collect();
    format!("{}...", cut.trim_end())
}

/// A timestamp of the contract.
pub(crate) fn time(at: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    at.and_then(|t| Timestamp::new(t.seconds, t.nanos).ok())
}

/// Local time and how long ago, or nothing.
pub(crate) fn when(at: Option<&prost_types::Timestamp>, now: Timestamp) -> String {
    time(at).map_or_else(String::new, |at| format!("{} ({})", local(at), ago(at, now)))
}

/// How long ago, or nothing.
pub(crate) fn age(at: Option<&prost_types::Timestamp>, now: Timestamp) -> String {
    time(at).map_or_else(String::new, |at| ago(at, now))
}

/// Local date and time to the second.
pub(crate) fn local(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Local time of day to the second.
pub(crate) fn clock(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// `3 min ago`, `in 2 h`, `just now`.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - at.as_second();
    match seconds {
        -2..=2 => "just now".to_owned(),
        3.. => format!("{} ago", coarse(seconds)),
        _ => format!("in {}", coarse(-seconds)),
    }
}

/// A span in its largest unit.
fn coarse(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        172_800..31_536_000 => format!("{} d", seconds / 86_400),
        _ => format!("{} y", seconds / 31_536_000),
    }
}

/// How long something took, or has taken until `now`: `0.3 s`, `42 s`, `3 min 5 s`, `2 h 10 min`.
pub(crate) fn span(from: Timestamp, to: Timestamp) -> String {
    let millis = (to.as_millisecond() - from.as_millisecond()).max(0);
    let seconds = millis / 1000;
    match seconds {
        ..10 => format!("{}.{} s", seconds, millis % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..172_800 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

fn two(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

/// `SERVER/PACKAGE/NAME`, as it can be typed again.
pub(crate) fn address(server: &str, package: &str, name: &str) -> String {
    let parts: Vec<String> =
        [server, package, name].into_iter().filter(|p| !p.is_empty()).map(clean).collect();
    parts.join("/")
}

/// A number of bytes in the unit in which people think of it: `512 B`, `3.8 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let Some(unit) = (0..units.len()).rev().find(|unit| bytes >> (10 * (unit + 1)) > 0) else {
        return format!("{bytes} B");
    };
    // Tenths of the unit, rounded: a number of bytes has no use for more.
    let whole = u128::from(1_u64 << (10 * (unit + 1)));
    let tenths = (u128::from(bytes) * 10 + whole / 2) / whole;
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_units() {
        for (bytes, told) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (4_026_531_840, "3.8 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(size(bytes), told);
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn ages_are_words() {
        let now = at(1_000_000_000_000);
        let table = [
            (0, "just now"),
            (2, "just now"),
            (-2, "just now"),
            (3, "3 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (3 * 60 + 59, "3 min ago"),
            (3_600, "1 h ago"),
            (47 * 3_600, "47 h ago"),
            (48 * 3_600, "2 d ago"),
            (400 * 86_400, "1 y ago"),
            (-90, "in 1 min"),
            (-7_200, "in 2 h"),
        ];
        for (seconds, words) in table {
            assert_eq!(ago(at(1_000_000_000_000 - seconds * 1000), now), words, "{seconds}");
        }
    }

    #[test]
    fn spans_are_words() {
        let table = [
            (0, "0.0 s"),
            (340, "0.3 s"),
            (9_999, "9.9 s"),
            (10_000, "10 s"),
            (60_000, "1 min"),
            (185_000, "3 min 5 s"),
            (7_800_000, "2 h 10 min"),
            (180_000_000, "2 d 2 h"),
            (-5, "0.0 s"),
        ];
        for (millis, words) in table {
            assert_eq!(span(at(0), at(millis)), words, "{millis}");
        }
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{9b}1m\n"), "a [2Jb c 1m");
        assert_eq!(line("10%\r20%\r100%\r"), "100%");
        assert_eq!(line("a\tb\x07\x1b[31mc"), "a\tb[31mc");
        assert_eq!(lines("a\r\nb\x08\n").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(short("grün und blau", 20), "grün und blau");
        assert_eq!(short("grüne Bäume", 9), "grüne...");
        assert_eq!(short("eins\nzwei", 9), "eins");
    }
}
