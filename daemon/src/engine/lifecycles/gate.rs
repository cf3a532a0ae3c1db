//! Gates: what expressions see, and whether a stage may begin.

use std::collections::BTreeMap;

use super::super::Engine;
use super::payload;
use crate::domain::enrollment::Enrollment;
use crate::domain::expression::{Expression, Value};
use crate::domain::lifecycle::Gate;
use crate::domain::resource::{Observed, Resource};
use crate::domain::server::Server;
use crate::domain::time::Timestamp;
use crate::store::{StoreError, Unit};

/// Name of the fact with which a probe says when it is to be asked again.
const EXECUTES_AT: &str = "executes_at";
/// What the names of facts begin with that a probe writes into the payload.
const PAYLOAD: &str = "payload_";

/// What a gate says.
#[derive(Debug, PartialEq)]
pub(super) enum Says {
    /// The stage may begin.
    Open,
    /// Not before then, and why.
    NotYet(Timestamp, String),
}

/// What expressions see, and the server and resource that the subject is or is on.
pub(super) struct Names {
    pub(super) values: Value,
    pub(super) server: Option<Server>,
    pub(super) resource: Option<Resource>,
}

impl Engine {
    /// What the expressions of a stage see.
    pub(super) async fn names(
        &self,
        unit: &mut Unit<'_>,
        enrollment: &Enrollment,
        probe: Option<&Observed>,
    ) -> Result<Names, StoreError> {
        let server = match enrollment.subject.server {
            Some(id) => unit.server(id).await?,
            None => None,
        };
        let resource = match enrollment.subject.resource {
            Some(id) => unit.resource(id).await?,
            None => None,
        };
        let text = |text: &str| Value::Text(text.to_owned());
        let subject = [("type", text(&enrollment.subject.kind)), ("id", text(&enrollment.subject.id))];
        let execution = enrollment.execution();
        let all = [
            ("subject", map(subject)),
            ("payload", payload::value(&enrollment.payload)),
            ("server", server.as_ref().map_or(Value::Nothing, server_value)),
            ("resource", resource.as_ref().map_or(Value::Nothing, resource_value)),
            ("probe", probe.map_or(Value::Nothing, observed_value)),
            ("stage", text(&enrollment.stage)),
            ("attempt", Value::Whole(execution.into())),
            ("deferrals", Value::Whole(enrollment.deferrals.into())),
            ("is_retry", Value::Bool(execution > 1)),
            ("now", Value::Text(shown(unit.now()))),
        ];
        Ok(Names { values: map(all), server, resource })
    }
}

fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Map(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn server_value(server: &Server) -> Value {
    let text = |text: &str| Value::Text(text.to_owned());
    map([
        ("name", text(&server.name)),
        ("status", text(server.status.as_str())),
        ("reach", text(server.reach.as_str())),
        ("labels", Value::texts(&server.labels)),
        ("facts", Value::texts(&server.facts)),
    ])
}

fn resource_value(resource: &Resource) -> Value {
    let text = |text: &str| Value::Text(text.to_owned());
    map([
        ("name", text(&resource.name)),
        ("package", text(&resource.package)),
        ("status", text(resource.status.as_str())),
        ("outputs", Value::texts(&resource.outputs)),
        ("observed", resource.observed.as_ref().map_or(Value::Nothing, observed_value)),
    ])
}

fn observed_value(observed: &Observed) -> Value {
    let state = Value::Text(observed.presence.as_str().to_owned());
    map([("state", state), ("facts", Value::texts(&observed.facts))])
}

/// A time as expressions see it.
pub(super) fn shown(at: Timestamp) -> String {
    // To the second, so that texts are in the order of time.
    jiff::Timestamp::from_second(at.0.div_euclid(1_000_000)).map(|at| at.to_string()).unwrap_or_default()
}

fn moment(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_microsecond()))
}

/// What a gate says now.
pub(super) fn says(gate: &Gate, names: &Value, probe: Option<&Observed>, now: Timestamp) -> Says {
    let again = now + gate.again;
    if let Some(observed) = probe
        && let Some(at) = observed.facts.get(EXECUTES_AT).and_then(|text| moment(text)).filter(|at| *at > now)
    {
        return Says::NotYet(at, format!("its probe says not before {}", shown(at)));
    }
    if let Some(until) = &gate.until {
        match not_before(until, names) {
            Ok(Some(at)) if at > now => {
                return Says::NotYet(at, format!("`{until}`: not before {}", shown(at)));
            }
            Ok(_) => {}
            Err(why) => return Says::NotYet(again, why),
        }
    }
    match &gate.when {
        Some(when) if !when.holds(names) => Says::NotYet(again, format!("`{when}` to hold")),
        _ => Says::Open,
    }
}

/// The time that an expression gives; none for nothing.
fn not_before(until: &Expression, names: &Value) -> Result<Option<Timestamp>, String> {
    match until.value(names) {
        Value::Nothing => Ok(None),
        value => {
            let at = value.text().and_then(|text| moment(&text));
            at.map(Some).ok_or_else(|| format!("`{until}` to be a time, like 2026-03-01T00:00:00Z"))
        }
    }
}

/// What a probe writes into the payload.
pub(super) fn told_by(observed: &Observed) -> BTreeMap<String, String> {
    let told = observed.facts.iter().filter_map(|(name, value)| Some((name.strip_prefix(PAYLOAD)?, value)));
    told.map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::resource::Presence;

    const NOW: Timestamp = Timestamp(1_772_323_200_000_000);

    fn gate(when: &str, until: &str) -> Gate {
        let read = |text: &str| (!text.is_empty()).then(|| Expression::parse(text).expect("an expression"));
        Gate { probe: None, when: read(when), until: read(until), again: Duration::from_secs(60) }
    }

    fn names(payload: &str) -> Value {
        map([("payload", payload::value(payload))])
    }

    fn observed(facts: &[(&str, &str)]) -> Observed {
        let facts = facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Observed { presence: Presence::Present, facts, differs: Vec::new(), at: NOW }
    }

    #[test]
    fn a_gate_opens_when_it_holds_and_not_before_its_time() {
        let check = |when: &str, until: &str, payload: &str, later: Option<u64>, part: &str| {
            let expected = later.map(|seconds| NOW + Duration::from_secs(seconds));
            match says(&gate(when, until), &names(payload), None, NOW) {
                Says::Open => assert_eq!(expected, None, "{when} {until}"),
                Says::NotYet(at, why) => {
                    assert_eq!(Some(at), expected, "{when} {until}: {why}");
                    assert!(why.contains(part), "{why}");
                }
            }
        };
        check("payload.paid", "", r#"{"paid":true}"#, None, "");
        check("payload.paid", "", "{}", Some(60), "`payload.paid` to hold");
        check(
            "",
            "payload.at",
            r#"{"at":"2026-03-01T01:00:00Z"}"#,
            Some(3_600),
            "not before 2026-03-01T01:00:00Z",
        );
        check("", "payload.at", r#"{"at":"2026-03-01T00:00:00Z"}"#, None, "");
        check("", "payload.at", "{}", None, "");
        check("", "payload.at", r#"{"at":"soon"}"#, Some(60), "to be a time");
        check("payload.paid", "payload.at", r#"{"at":"2026-03-01T01:00:00Z","paid":true}"#, Some(3_600), "");
    }

    #[test]
    fn a_probe_may_say_when_and_write_into_the_payload() {
        let seen =
            observed(&[("executes_at", "2026-03-01T02:00:00Z"), ("payload_days", "9"), ("version", "1")]);
        let said = says(&gate("true", ""), &names("{}"), Some(&seen), NOW);
        assert!(matches!(said, Says::NotYet(at, _) if at == NOW + Duration::from_secs(7_200)), "{said:?}");
        assert_eq!(told_by(&seen), [("days".to_owned(), "9".to_owned())].into());
        assert_eq!(says(&gate("true", ""), &names("{}"), Some(&observed(&[])), NOW), Says::Open);
    }
}
