use super::*;

fn windows(texts: &[&str]) -> Vec<Window> {
    texts.iter().map(|text| text.parse().expect("a window")).collect()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).expect("the machine has time zone data")
}

fn instant(utc: &str) -> Timestamp {
    Timestamp(utc.parse::<Moment>().expect("a time").as_microsecond())
}

/// When work may begin, in UTC; `open` when it may now.
fn opens(texts: &[&str], zone_name: &str, now: &str) -> String {
    match opening(&windows(texts), &zone(zone_name), instant(now)) {
        Opening::Now => "open".to_owned(),
        Opening::At(at) => Moment::from_microsecond(at.0).expect("a time").to_string(),
        Opening::Unknown => "unknown".to_owned(),
    }
}

#[test]
fn without_windows_a_server_is_always_open() {
    assert_eq!(opens(&[], "UTC", "2026-01-05T12:00:00Z"), "open");
}

#[test]
fn a_window_is_open_from_its_first_minute_to_before_its_last() {
    let daily = &["daily 02:00-04:30"][..];
    for (now, expected) in [
        ("2026-01-05T01:59:59Z", "2026-01-05T02:00:00Z"),
        ("2026-01-05T02:00:00Z", "open"),
        ("2026-01-05T04:29:59Z", "open"),
        ("2026-01-05T04:30:00Z", "2026-01-06T02:00:00Z"),
    ] {
        assert_eq!(opens(daily, "UTC", now), expected, "{now}");
    }
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_on_which_it_opens() {
    let nights = &["Mon-Fri 22:00-06:00"][..];
    for (now, expected) in [
        // 2026-01-05 is a Monday.
        ("2026-01-05T05:00:00Z", "2026-01-05T22:00:00Z"),
        ("2026-01-05T23:00:00Z", "open"),
        ("2026-01-10T05:59:00Z", "open"),
        ("2026-01-10T06:00:00Z", "2026-01-12T22:00:00Z"),
        ("2026-01-10T23:00:00Z", "2026-01-12T22:00:00Z"),
    ] {
        assert_eq!(opens(nights, "UTC", now), expected, "{now}");
    }
}

#[test]
fn the_first_of_several_windows_counts() {
    let two = &["Sat,Sun 00:00-24:00", "Wed 12:00-13:00"][..];
    assert_eq!(opens(two, "UTC", "2026-01-05T00:00:00Z"), "2026-01-07T12:00:00Z");
    assert_eq!(opens(two, "UTC", "2026-01-07T13:00:00Z"), "2026-01-10T00:00:00Z");
    assert_eq!(opens(two, "UTC", "2026-01-11T23:59:59Z"), "open");
}

#[test]
fn windows_follow_the_clock_on_the_wall_of_their_zone() {
    let early = &["daily 02:00-03:00"][..];
    assert_eq!(opens(early, "Asia/Tokyo", "2026-01-05T12:00:00Z"), "2026-01-05T17:00:00Z");
    assert_eq!(opens(early, "America/New_York", "2026-01-05T06:30:00Z"), "2026-01-05T07:00:00Z");
    // The same wall time in winter and in summer.
    assert_eq!(opens(early, "Europe/Berlin", "2026-01-05T12:00:00Z"), "2026-01-06T01:00:00Z");
    assert_eq!(opens(early, "Europe/Berlin", "2026-07-05T12:00:00Z"), "2026-07-06T00:00:00Z");
}

#[test]
fn an_hour_that_is_skipped_opens_nothing_and_shortens_what_it_cuts() {
    // Berlin, 2026-03-29: 01:59:59 is followed by 03:00.
    let into_it = &["daily 02:30-04:00"][..];
    assert_eq!(opens(into_it, "Europe/Berlin", "2026-03-29T00:30:00Z"), "2026-03-29T01:00:00Z");
    assert_eq!(opens(into_it, "Europe/Berlin", "2026-03-29T01:00:00Z"), "open");
    let within_it = &["daily 02:10-02:50"][..];
    assert_eq!(opens(within_it, "Europe/Berlin", "2026-03-29T00:30:00Z"), "2026-03-30T00:10:00Z");
    let weekly = &["Sun 02:10-02:50"][..];
    assert_eq!(opens(weekly, "Europe/Berlin", "2026-03-28T12:00:00Z"), "2026-04-05T00:10:00Z");
}

#[test]
fn an_hour_that_is_repeated_counts_twice() {
    // Berlin, 2026-10-25: 02:59:59 is followed by 02:00.
    let hour = &["daily 02:00-03:00"][..];
    for now in
        ["2026-10-25T00:00:00Z", "2026-10-25T00:59:59Z", "2026-10-25T01:00:00Z", "2026-10-25T01:59:59Z"]
    {
        assert_eq!(opens(hour, "Europe/Berlin", now), "open", "{now}");
    }
    assert_eq!(opens(hour, "Europe/Berlin", "2026-10-25T02:00:00Z"), "2026-10-26T01:00:00Z");
    // The clock is set back into a window that had closed.
    let until_half_past = &["daily 01:00-02:30"][..];
    assert_eq!(opens(until_half_past, "Europe/Berlin", "2026-10-25T00:30:00Z"), "2026-10-25T01:00:00Z");
    assert_eq!(opens(until_half_past, "Europe/Berlin", "2026-10-25T01:29:59Z"), "open");
    let minutes = &["daily 02:30-02:45"][..];
    assert_eq!(opens(minutes, "Europe/Berlin", "2026-10-25T00:45:00Z"), "2026-10-25T01:30:00Z");
}

#[test]
fn a_window_has_one_form() {
    for (text, canonical) in [
        ("Mon-Fri 22:00-06:00", "Mon-Fri 22:00-06:00"),
        ("Mon,Tue,Wed,Thu,Fri 22:00-06:00", "Mon-Fri 22:00-06:00"),
        ("Sun,Sat 00:00-24:00", "Sat,Sun 00:00-24:00"),
        ("Sat-Mon 01:00-02:00", "Mon,Sat,Sun 01:00-02:00"),
        ("Mon-Sun 01:00-02:00", "daily 01:00-02:00"),
        ("daily 23:59-00:00", "daily 23:59-00:00"),
        ("Mon,Wed-Fri 09:00-17:30", "Mon,Wed-Fri 09:00-17:30"),
    ] {
        let window: Window = text.parse().expect(text);
        assert_eq!(window.to_string(), canonical);
        assert_eq!(canonical.parse::<Window>().expect(canonical), window);
    }
}

#[test]
fn anything_else_is_refused_with_the_reason_and_an_example() {
    for (text, why) in [
        ("", "needs days"),
        ("22:00-06:00", "needs days"),
        ("Mon-Fri", "needs days"),
        ("Mon 22:00", "a time to close"),
        ("Mon  22:00-23:00", "HH:MM"),
        ("Mon 22:00 - 23:00", "HH:MM"),
        ("mon 22:00-23:00", "days are Mon"),
        ("Monday 22:00-23:00", "days are Mon"),
        ("Mon, 22:00-23:00", "days are Mon"),
        ("Mon-Mon 22:00-23:00", "two different ends"),
        ("Mon-Wed,Tue 22:00-23:00", "named twice"),
        ("Mon 2:00-3:00", "HH:MM"),
        ("Mon 24:01-25:00", "HH:MM"),
        ("Mon 22:60-23:00", "HH:MM"),
        ("Mon 24:00-06:00", "begins at 00:00"),
        ("Mon 22:00-22:00", "a whole day is 00:00-24:00"),
        ("Mon 22:00-23:00 ", "HH:MM"),
    ] {
        let told = text.parse::<Window>().expect_err(text).to_string();
        assert!(told.contains(why) && told.contains("`Mon-Fri 22:00-06:00`"), "{text}: {told}");
    }
}

/// The same, with blackouts.
fn opens_between(texts: &[&str], blackouts: &[&str], zone_name: &str, now: &str) -> String {
    match opening_between(&windows(texts), &windows(blackouts), &zone(zone_name), instant(now)) {
        Opening::Now => "open".to_owned(),
        Opening::At(at) => Moment::from_microsecond(at.0).expect("a time").to_string(),
        Opening::Unknown => "unknown".to_owned(),
    }
}

#[test]
fn a_blackout_closes_what_a_window_opens() {
    let table: &[(&[&str], &[&str], &str, &str)] = &[
        (&[], &[], "2026-01-05T12:00:00Z", "open"),
        (&[], &["Mon 08:00-18:00"], "2026-01-05T12:00:00Z", "2026-01-05T17:00:00Z"),
        (&[], &["Mon 08:00-18:00"], "2026-01-05T18:00:00Z", "open"),
        (&[], &["Mon 22:00-06:00"], "2026-01-06T02:00:00Z", "2026-01-06T05:00:00Z"),
        (&[], &["Mon 00:00-24:00", "Tue 00:00-02:00"], "2026-01-05T12:00:00Z", "2026-01-06T01:00:00Z"),
        (&["daily 10:00-12:00"], &["Mon 00:00-24:00"], "2026-01-05T09:30:00Z", "2026-01-06T09:00:00Z"),
        (&["daily 10:00-12:00"], &["daily 09:00-11:00"], "2026-01-05T09:30:00Z", "2026-01-05T10:00:00Z"),
        (&["daily 10:00-12:00"], &["daily 09:00-13:00"], "2026-01-05T09:30:00Z", "unknown"),
        (&[], &["daily 00:00-24:00"], "2026-01-05T09:30:00Z", "unknown"),
    ];
    for (texts, blackouts, now, expected) in table {
        let found = opens_between(texts, blackouts, "Europe/Berlin", now);
        assert_eq!(found, *expected, "{texts:?} without {blackouts:?} at {now}");
    }
}
