//! Due times are judged by a scan of every minute that shares nothing with the code under test but the offsets of the zones.

use jiff::civil::date;

use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<Moment>().unwrap().as_microsecond())
}

/// Due times from `from` on, the first `count`, as the clock on the wall shows them, with the offset.
fn due(expression: &str, zone_name: &str, from: &str, count: usize) -> Vec<String> {
    let (cron, zone) = (Cron::parse(expression).unwrap(), zone(zone_name));
    let mut after = at(from);
    let mut found = Vec::new();
    for _ in 0..count {
        after = cron.next(&zone, after).unwrap();
        let shown = Moment::from_microsecond(after.0).unwrap().to_zoned(zone.clone());
        found.push(shown.strftime("%m-%d %H:%M:%S%:z").to_string());
    }
    found
}

#[test]
fn expressions_have_one_form_and_errors_name_the_field() {
    let table = [
        ("  */5   8-18 * * MON-Fri ", Ok("*/5 8-18 * * mon-fri")),
        ("30 02 * * *", Ok("30 2 * * *")),
        ("*/10 0 2 * * *", Ok("*/10 0 2 * * *")),
        ("@Daily", Ok("@daily")),
        ("@hourly", Ok("@hourly")),
        ("", Err("is missing")),
        ("@reboot", Err("the words of schedules are @yearly")),
        ("* * * *", Err("has 4 fields")),
        ("* * * * * * *", Err("has 7 fields")),
        ("60 * * * *", Err("minute: `60`")),
        ("61 0 * * * *", Err("second: `61`")),
        ("0 24 * * *", Err("hour: `24`")),
        ("0 0 32 * *", Err("day of month: `32`")),
        ("0 0 * 13 *", Err("month: `13`")),
        ("0 0 * * xyz", Err("day of week: `xyz`")),
        ("0 0 L * *", Err("day of month: `l`")),
        ("5/10 * * * *", Err("minute: a step needs")),
        ("0 0 30 2 *", Err("no month has")),
    ];
    for (text, expected) in table {
        match (Cron::parse(text), expected) {
            (Ok(cron), Ok(form)) => assert_eq!(cron.as_str(), form),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
            (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
        }
    }
    let long = "1,".repeat(200);
    assert!(Cron::parse(&format!("{long}1 * * * *")).unwrap_err().to_string().contains("at most 200"));
}

/// The table of docs/schedules.md, line by line: Berlin's clock skips 02:00-03:00 on 29 March 2026 and repeats it on 25 October.
#[test]
fn a_change_of_the_clock_does_what_the_table_says() {
    let berlin = "Europe/Berlin";
    let table: [(&str, &str, &[&str]); 8] = [
        ("30 2 * * *", "2026-03-28T12:00Z", &["03-29 03:00:00+02:00", "03-30 02:30:00+02:00"]),
        ("0,20,40 2 * * *", "2026-03-28T12:00Z", &["03-29 03:00:00+02:00", "03-30 02:00:00+02:00"]),
        ("30 2,3 * * *", "2026-03-28T12:00Z", &["03-29 03:00:00+02:00", "03-29 03:30:00+02:00"]),
        (
            "*/30 2 * * *",
            "2026-03-28T01:15Z",
            &["03-28 02:30:00+01:00", "03-30 02:00:00+02:00", "03-30 02:30:00+02:00"],
        ),
        (
            "30 * * * *",
            "2026-03-29T00:00Z",
            &["03-29 01:30:00+01:00", "03-29 03:30:00+02:00", "03-29 04:30:00+02:00"],
        ),
        ("30 2 * * *", "2026-10-24T12:00Z", &["10-25 02:30:00+02:00", "10-26 02:30:00+01:00"]),
        (
            "*/30 2 * * *",
            "2026-10-24T12:00Z",
            &[
                "10-25 02:00:00+02:00",
                "10-25 02:30:00+02:00",
                "10-25 02:00:00+01:00",
                "10-25 02:30:00+01:00",
                "10-26 02:00:00+01:00",
            ],
        ),
        (
            "30 * * * *",
            "2026-10-25T00:00Z",
            &["10-25 02:30:00+02:00", "10-25 02:30:00+01:00", "10-25 03:30:00+01:00"],
        ),
    ];
    for (expression, from, expected) in table {
        assert_eq!(due(expression, berlin, from, expected.len()), expected, "{expression} from {from}");
    }
}

/// Apia went over the date line: it had no 30 December 2011, a Friday.
#[test]
fn a_day_that_a_zone_does_not_have_is_a_gap_like_any_other() {
    let apia = "Pacific/Apia";
    let noon = due("0 12 * * *", apia, "2011-12-29T12:00Z", 3);
    assert_eq!(noon, ["12-29 12:00:00-10:00", "12-31 00:00:00+14:00", "12-31 12:00:00+14:00"]);
    assert_eq!(due("0 12 * * fri", apia, "2011-12-29T12:00Z", 1), ["12-31 00:00:00+14:00"]);
    assert_eq!(due("0 * 30 12 *", apia, "2011-12-29T12:00Z", 1), ["12-30 00:00:00+14:00"]);
}

#[test]
fn seconds_days_and_rare_dates_are_found() {
    assert_eq!(
        due("*/20 30 2 * * *", "UTC", "2026-01-01T02:30:20.5Z", 2),
        ["01-01 02:30:40+00:00", "01-02 02:30:00+00:00"]
    );
    // Either day is enough when both are restricted.
    assert_eq!(
        due("0 0 13 * fri", "UTC", "2026-08-01T00:00Z", 2),
        ["08-07 00:00:00+00:00", "08-13 00:00:00+00:00"]
    );
    let (leap, utc) = (Cron::parse("0 0 29 2 *").unwrap(), zone("UTC"));
    assert_eq!(leap.next(&utc, at("2096-03-01T00:00Z")), Some(at("2104-02-29T00:00Z")));
    let real = Cron::parse("0 * 29 2 *").unwrap();
    assert_eq!(real.next(&zone("Europe/Berlin"), at("2096-03-01T00:00Z")), Some(at("2104-02-28T23:00Z")));
}

/// What an expression names, written a second time, by hand.
struct Judged {
    expression: &'static str,
    fixed: bool,
    /// Month, day, weekday from Sunday, minute of the day.
    names: fn(i8, i8, i64, i64) -> bool,
}

const JUDGED: [Judged; 8] = [
    Judged { expression: "30 2 * * *", fixed: true, names: |_, _, _, m| m == 150 },
    Judged { expression: "0 0 * * *", fixed: true, names: |_, _, _, m| m == 0 },
    Judged {
        expression: "15,45 1,2 * * *",
        fixed: true,
        names: |_, _, _, m| [75, 105, 135, 165].contains(&m),
    },
    Judged {
        expression: "59 23 * * mon-fri",
        fixed: true,
        names: |_, _, d, m| m == 1439 && (1..=5).contains(&d),
    },
    Judged { expression: "@hourly", fixed: false, names: |_, _, _, m| m % 60 == 0 },
    Judged { expression: "7,37 * * * *", fixed: false, names: |_, _, _, m| m % 60 == 7 || m % 60 == 37 },
    Judged {
        expression: "*/13 1-3 * * *",
        fixed: false,
        names: |_, _, _, m| (60..240).contains(&m) && m % 60 % 13 == 0,
    },
    Judged {
        expression: "17 */5 1-7 3,10,11 sun",
        fixed: false,
        names: |mo, day, d, m| {
            [3, 10, 11].contains(&mo) && (day <= 7 || d == 0) && m / 60 % 5 == 0 && m % 60 == 17
        },
    },
];

/// Every due time of each expression from one year to another, by looking at each minute.
fn scan(zone: &TimeZone, years: std::ops::Range<i16>) -> Vec<Vec<Timestamp>> {
    let minute_of = |year| date(year, 1, 1).to_datetime(jiff::civil::Time::midnight());
    let minute_of = |year| TimeZone::UTC.to_timestamp(minute_of(year)).unwrap().as_second() / 60;
    let mut found = vec![Vec::new(); JUDGED.len()];
    let (mut offset, mut today, mut day) = (0, i64::MIN, date(1970, 1, 1));
    let mut shown_last = i64::MIN;
    for minute in minute_of(years.start)..minute_of(years.end) {
        // Clocks are changed at quarters of an hour.
        if minute % 15 == 0 || shown_last == i64::MIN {
            let moment = Moment::from_second(minute * 60).unwrap();
            offset = i64::from(zone.to_offset(moment).seconds()) / 60;
        }
        let wall = minute + offset;
        let mut names = |judged: &Judged, wall: i64| {
            if wall.div_euclid(1440) != today {
                today = wall.div_euclid(1440);
                day = Moment::from_second(today * 86_400).unwrap().to_zoned(TimeZone::UTC).date();
            }
            (judged.names)(day.month(), day.day(), (today + 4).rem_euclid(7), wall.rem_euclid(1440))
        };
        for (judged, found) in JUDGED.iter().zip(&mut found) {
            let shown = names(judged, wall);
            let is_due = if !judged.fixed {
                shown
            } else if shown_last == i64::MIN || wall == shown_last + 1 {
                shown
            } else {
                // After a gap: what it skipped, and what is shown now. In a repeated hour: nothing that was shown before.
                wall > shown_last && (shown_last + 1..=wall).any(|skipped| names(judged, skipped))
            };
            if is_due {
                found.push(Timestamp(minute * 60_000_000));
            }
        }
        shown_last = shown_last.max(wall);
    }
    found
}

fn judge(zone_name: &str, years: std::ops::Range<i16>) {
    let zone = zone(zone_name);
    let expected = scan(&zone, years.clone());
    for (judged, expected) in JUDGED.iter().zip(&expected) {
        let cron = Cron::parse(judged.expression).unwrap();
        let mut after = Timestamp(expected[0].0 - 1);
        for (n, due) in expected.iter().enumerate() {
            let next = cron.next(&zone, after).unwrap();
            assert_eq!(next, *due, "{} in {zone_name}, the {n}th from {:?}", judged.expression, years);
            after = next;
        }
    }
}

/// The years in which these zones did what they are known for: Apia left out a day, and Sao Paulo changed its clock at midnight.
const YEARS: std::ops::Range<i16> = 2010..2015;

macro_rules! judged {
    ($($name:ident = $zone:literal,)+) => { $(
        #[test]
        fn $name() {
            judge($zone, YEARS);
        }
    )+ };
}

judged! {
    five_years_in_berlin = "Europe/Berlin",
    five_years_in_new_york = "America/New_York",
    five_years_on_lord_howe = "Australia/Lord_Howe",
    five_years_in_kathmandu = "Asia/Kathmandu",
    five_years_in_apia = "Pacific/Apia",
    five_years_in_sao_paulo = "America/Sao_Paulo",
}

/// What comes next does not depend on where one begins to look, and is never in the past.
#[test]
fn p2_the_next_due_time_is_the_same_from_everywhere_before_it() {
    let zone = zone("Europe/Berlin");
    for judged in &JUDGED {
        let cron = Cron::parse(judged.expression).unwrap();
        // Around both changes of 2026, each seven minutes and a bit.
        for change in ["2026-03-29T01:00Z", "2026-10-25T01:00Z"] {
            let mut known = None;
            for step in 0..600 {
                let from = Timestamp(at(change).0 - 36 * 3_600_000_000 + step * 421_000_123);
                let next = cron.next(&zone, from).unwrap();
                assert!(next > from, "{}", judged.expression);
                if let Some(known) = known.filter(|known| *known > from) {
                    assert_eq!(next, known, "{} from {from:?}", judged.expression);
                }
                known = Some(next);
            }
        }
    }
}
