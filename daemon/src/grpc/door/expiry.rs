//! Until when a certificate is good: the one thing of it that people want to know in time and that checking it does not tell.

use jiff::tz::TimeZone;

use crate::domain::time::Timestamp;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The last moment of a certificate's time, if it is written as RFC 5280 says.
pub(super) fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let mut outer = expect(&mut &*certificate, SEQUENCE)?;
    let mut fields = expect(&mut outer, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        next(&mut fields)?;
    }
    // Its number, the algorithm of the signature, who has signed it.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        expect(&mut fields, tag)?;
    }
    let mut validity = expect(&mut fields, SEQUENCE)?;
    next(&mut validity)?;
    let (tag, time) = next(&mut validity)?;
    moment(tag, std::str::from_utf8(time).ok()?)
}

fn moment(tag: u8, text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?;
    if !digits.is_ascii() {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let mut parts = [0_i8; 5];
    for (part, at) in parts.iter_mut().zip((0..).step_by(2)) {
        *part = rest.get(at..at + 2)?.parse().ok()?;
    }
    let [month, day, hour, minute, second] = parts;
    let day = jiff::civil::Date::new(year, month, day).ok()?;
    let time = jiff::civil::Time::new(hour, minute, second, 0).ok()?;
    let at = day.to_datetime(time).to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp(at.timestamp().as_microsecond()))
}

fn expect<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, value) = next(bytes)?;
    (found == tag).then_some(value)
}

/// The next value: its tag and its bytes.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&length, mut rest) = rest.split_first()?;
    let length = if length < 0x80 {
        usize::from(length)
    } else {
        let (digits, after) = rest.split_at_checked(usize::from(length & 0x7f))?;
        rest = after;
        if digits.len() > 4 {
            return None;
        }
        digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))
    };
    let (value, after) = rest.split_at_checked(length)?;
    *bytes = after;
    Some((tag, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["settled.test".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 3, 9);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms() {
        for (year, text) in [(2031, "2031-03-09T00:00:00Z"), (2075, "2075-03-09T00:00:00Z")] {
            let expected: jiff::Timestamp = text.parse().unwrap();
            assert_eq!(not_after(&made(year)), Some(Timestamp(expected.as_microsecond())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_read_in_peace(bytes: Vec<u8>, cut in 0_usize..400, at in 0_usize..120, byte: u8) {
            not_after(&bytes);
            let mut broken = made(2031);
            broken[at] = byte;
            broken.truncate(cut);
            not_after(&broken);
        }
    }
}
