//! Notifiers, and what they were told, for people.

use jiff::Timestamp;
use settled_proto::v1::{Delivery, DeliveryState, NoticeEvent, Notifier};

use super::table::{self, Style};
use super::text;
use super::words::word_or_empty;

/// A notifier that was made.
pub(crate) fn created(notifier: &Notifier) -> String {
    let name = text::clean(&notifier.name);
    format!(
        "The notifier {name} hears of {} from now on. Try it out: settlectl notifier test {name}",
        events(notifier)
    )
}

/// A notifier that is gone.
pub(crate) fn deleted(notifier: &Notifier) -> String {
    format!("The notifier {} hears of nothing any more.", text::clean(&notifier.name))
}

/// What came of trying one out.
pub(crate) fn tried(delivery: &Delivery) -> String {
    let name = text::clean(&delivery.notifier);
    match (delivery.state(), delivery.last_error.as_str()) {
        (DeliveryState::Sent, "") => format!("The notifier {name} took it."),
        (DeliveryState::Sent, remark) => format!("The notifier {name} took it, but {}.", text::clean(remark)),
        (_, "") => format!(
            "The notifier {name} has not answered yet. See what comes of it: settlectl notifier show {name}"
        ),
        (_, error) => {
            format!("The notifier {name} did not take it: {}. It is sent again.", text::clean(error))
        }
    }
}

/// Notifiers in order of name.
pub(crate) fn list(notifiers: &[Notifier], wide: bool, style: Style, now: Timestamp) -> String {
    let mut headings = vec!["name", "to", "of", "only"];
    if wide {
        headings.extend(["made", "made by", "id"]);
    }
    let rows = notifiers.iter().map(|n| {
        let mut row = vec![text::clean(&n.name), to(n), events(n), only(n)];
        if wide {
            row.extend([
                text::when(n.created_at.as_ref(), now),
                text::clean(&n.principal),
                text::clean(&n.id),
            ]);
        }
        row
    });
    table::columns(&headings, rows.collect(), style)
}

/// One notifier, and what it was told lately.
pub(crate) fn story(notifier: &Notifier, told: &[Delivery], style: Style, now: Timestamp) -> String {
    let pairs = vec![
        ("Name", text::clean(&notifier.name)),
        ("To", to(notifier)),
        ("Of", events(notifier)),
        ("Only", only(notifier)),
        ("Made", text::when(notifier.created_at.as_ref(), now)),
        ("Made by", text::clean(&notifier.principal)),
        ("Id", text::clean(&notifier.id)),
    ];
    let head = table::pairs(pairs, style);
    if told.is_empty() {
        return format!("{head}\n\nIt was told nothing yet.");
    }
    format!("{head}\n\n{}", deliveries(told, false, style, now))
}

/// What notifiers were told, newest first.
pub(crate) fn deliveries(deliveries: &[Delivery], wide: bool, style: Style, now: Timestamp) -> String {
    let mut headings = vec!["notifier", "state", "event", "what", "when", "tries", "why not"];
    if wide {
        headings.extend(["next try", "run", "id"]);
    }
    let rows = deliveries.iter().map(|d| {
        let mut row = vec![
            text::clean(&d.notifier),
            word_or_empty::<DeliveryState>(d.state),
            word_or_empty::<NoticeEvent>(d.event),
            text::clean(&d.text),
            text::when(d.created_at.as_ref(), now),
            d.attempts.to_string(),
            text::clean(&d.last_error),
        ];
        if wide {
            row.extend([text::when(d.next_try.as_ref(), now), text::clean(&d.run_id), text::clean(&d.id)]);
        }
        row
    });
    table::columns(&headings, rows.collect(), style)
}

fn to(notifier: &Notifier) -> String {
    let mail = notifier.recipients.join(", ");
    text::clean(if notifier.url.is_empty() { &mail } else { &notifier.url })
}

fn events(notifier: &Notifier) -> String {
    let words = notifier.events.iter().map(|event| word_or_empty::<NoticeEvent>(*event));
    words.collect::<Vec<_>>().join(", ")
}

fn only(notifier: &Notifier) -> String {
    let mut labels: Vec<_> = notifier.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort();
    text::clean(&[labels, notifier.packages.clone()].concat().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_a_test_is_told_in_a_sentence() {
        let told = |state: DeliveryState, error: &str| {
            let (notifier, last_error) = ("ops".to_owned(), error.to_owned());
            tried(&Delivery { notifier, state: state.into(), last_error, ..Delivery::default() })
        };
        assert_eq!(told(DeliveryState::Sent, ""), "The notifier ops took it.");
        let remark = told(DeliveryState::Sent, "the mail server refused a@b");
        assert_eq!(remark, "The notifier ops took it, but the mail server refused a@b.");
        let not = told(DeliveryState::Waiting, "it answered 404");
        assert_eq!(not, "The notifier ops did not take it: it answered 404. It is sent again.");
        assert!(told(DeliveryState::Waiting, "").contains("settlectl notifier show ops"));
    }

    #[test]
    fn a_notifier_says_whom_it_tells_of_what() {
        let notifier = Notifier {
            name: "ops".into(),
            recipients: vec!["a@example.org".into(), "b@example.org".into()],
            events: vec![NoticeEvent::RunFailed.into(), NoticeEvent::LaneHeld.into()],
            labels: [("tier".to_owned(), "web".to_owned())].into(),
            packages: vec!["site".into()],
            ..Notifier::default()
        };
        let shown = list(std::slice::from_ref(&notifier), false, Style::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(
            shown,
            "NAME  TO                            OF                    ONLY\n\
             ops   a@example.org, b@example.org  run_failed, lane_held  tier=web, site"
                .replace("OF                    ONLY", "OF                     ONLY")
        );
        let story = story(&notifier, &[], Style::default(), Timestamp::UNIX_EPOCH);
        assert!(story.contains("told nothing yet"), "{story}");
    }
}
