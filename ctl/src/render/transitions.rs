//! Changes for people: one line each.

use settled_proto::v1::{
    Change, EnrollmentStatus, Kind, Presence, Reach, ResourceStatus, ServerStatus, StepState, Transition,
    transition::Object,
};

use super::words::word_or_empty;
use super::{enrollments, resources, runs, schedules, text, verdict};

/// `12:03:04  #42  resource  web1/site/a  updated  installing`.
pub(crate) fn line(t: &Transition) -> String {
    let at = text::time(t.at.as_ref()).map_or_else(|| " ".repeat(8), text::clock);
    let (name, state) = match &t.object {
        Some(Object::Server(s)) => {
            let status = word_or_empty::<ServerStatus>(s.status);
            (text::clean(&s.name), format!("{status}, reach {}", word_or_empty::<Reach>(s.reach)))
        }
        Some(Object::Resource(r)) => {
            let status = word_or_empty::<ResourceStatus>(r.status);
            let seen = r.observed.as_ref().map(|o| word_or_empty::<Presence>(o.presence));
            let state = match seen {
                Some(seen) if !seen.is_empty() => format!("{status}, observed {seen}"),
                _ => status,
            };
            (resources::address(r), state)
        }
        Some(Object::Run(r)) => (
            format!("{} {}", text::clean(&r.operation), verdict::subject(r)),
            format!("{} {}", runs::state(r), r.id),
        ),
        Some(Object::Step(s)) => {
            let state = word_or_empty::<StepState>(s.state);
            let state = s.exit_code.map_or(state.clone(), |code| format!("{state}, exit code {code}"));
            (text::clean(&s.title), format!("{state} {}", s.id))
        }
        Some(Object::Schedule(s)) => (text::clean(&s.name), schedules::state(s)),
        Some(Object::Enrollment(e)) => {
            let status = word_or_empty::<EnrollmentStatus>(e.status);
            (enrollments::address(e), format!("{status}, {}", text::clean(&e.stage)))
        }
        // Its server has lost the labels that the watch asks for.
        None if t.change() == Change::Gone => (t.object_id.clone(), "out of sight".to_owned()),
        None => (t.object_id.clone(), String::new()),
    };
    let change = word_or_empty::<Change>(t.change);
    let kind = word_or_empty::<Kind>(t.kind);
    format!("{at}  #{:<6} {kind:<8} {change:<8} {name}  {state}", t.seq).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use settled_proto::v1::Resource;

    use super::*;

    #[test]
    fn a_change_is_one_line() {
        let resource = Resource {
            server: "web1".into(),
            package: "site".into(),
            name: "a".into(),
            status: ResourceStatus::Removing as i32,
            ..Resource::default()
        };
        let change = Transition {
            seq: 42,
            kind: Kind::Resource as i32,
            change: Change::Gone as i32,
            object: Some(Object::Resource(resource)),
            ..Transition::default()
        };
        assert_eq!(line(&change).trim_start(), "#42     resource gone     web1/site/a  removing");
    }
}
