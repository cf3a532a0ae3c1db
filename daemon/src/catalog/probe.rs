//! What a probe said, and whether it proves an operation (P7).

use std::collections::BTreeMap;

use crate::domain::params::Params;
use crate::domain::resource::{Difference, Presence};

use super::definition::{Expected, Proof};

/// Facts kept from one probe; further ones are ignored.
pub const FACTS_MAX: usize = 64;
/// Longest fact kept, in bytes; a longer one is cut at a character.
pub const FACT_BYTES_MAX: usize = 1024;
/// Longest name of a fact, in bytes; a longer one is ignored.
pub const FACT_NAME_BYTES_MAX: usize = 64;

/// What a probe said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbeReading {
    /// The state; `None` when it said none, or different ones.
    pub presence: Option<Presence>,
    /// Facts by name.
    pub facts: BTreeMap<String, String>,
}

/// Reads the output of a probe: lines `state=present|absent|paused` and `fact.<name>=<value>`. Every other line is for people.
pub fn read_probe(output: &[u8]) -> ProbeReading {
    let mut reading = ProbeReading::default();
    let mut states = Vec::new();
    for line in String::from_utf8_lossy(output).lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        if key == "state" {
            states.push(state(value.trim()));
        } else if let Some(name) = key.strip_prefix("fact.").filter(|name| is_fact_name(name))
            && (reading.facts.len() < FACTS_MAX || reading.facts.contains_key(name))
        {
            reading.facts.insert(name.to_owned(), clean(value));
        }
    }
    states.dedup();
    if let [only] = states[..] {
        reading.presence = only;
    }
    reading
}

/// The states that a probe may say. `drifted` and `unknown` are conclusions, not sightings.
pub(super) fn state(word: &str) -> Option<Presence> {
    match word {
        "present" => Some(Presence::Present),
        "absent" => Some(Presence::Absent),
        "paused" => Some(Presence::Paused),
        _ => None,
    }
}

/// Lower case letters, digits, `_`, `-` and `.`.
pub(super) fn is_fact_name(name: &str) -> bool {
    (1..=FACT_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b))
}

fn clean(value: &str) -> String {
    let mut kept: String = value.trim_end().chars().filter(|c| !c.is_control()).collect();
    kept.truncate(kept.floor_char_boundary(FACT_BYTES_MAX));
    kept
}

impl Proof {
    /// That it is there, and nothing else.
    pub const fn of_presence() -> Self {
        Self { state: Presence::Present, facts: BTreeMap::new() }
    }

    /// Whether a reading proves the operation for these parameters. What the probe did not say proves nothing.
    pub fn holds(&self, reading: &ProbeReading, desired: &Params) -> bool {
        self.differences(reading, desired).is_empty()
    }

    /// What a reading shows otherwise than this proof wants it: the state first, then facts.
    pub fn differences(&self, reading: &ProbeReading, desired: &Params) -> Vec<Difference> {
        let word = |presence: Presence| presence.to_string();
        let found = reading.presence.map(word).unwrap_or_default();
        let state = Difference { fact: "state".to_owned(), expected: self.state.to_string(), found };
        let state = Some(state).filter(|_| reading.presence != Some(self.state));
        let facts = self.facts.iter().filter_map(|(name, expected)| {
            let expected = match expected {
                Expected::Text(text) => Some(text),
                Expected::Parameter(parameter) => desired.get(parameter),
            };
            let (expected, found) = (expected.cloned().unwrap_or_default(), reading.facts.get(name));
            (found != Some(&expected)).then(|| Difference {
                fact: name.clone(),
                expected,
                found: found.cloned().unwrap_or_default(),
            })
        });
        state.into_iter().chain(facts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_read_line_by_line_and_noise_is_left_out() {
        let reading =
            read_probe(b"Welcome!\nstate=present\nfact.release=r1\nfact.Bad=x\nfact.=x\nfact.a=b=c\n");
        assert_eq!(reading.presence, Some(Presence::Present));
        let facts: Vec<_> = reading.facts.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(facts, ["a=b=c", "release=r1"]);
    }

    #[test]
    fn a_state_that_is_unknown_or_contradicts_itself_is_no_state() {
        for (output, expected) in [
            ("", None),
            ("state=drifted", None),
            ("state=present\nstate=absent", None),
            ("state=absent\nstate=absent\r\n", Some(Presence::Absent)),
            ("state=paused", Some(Presence::Paused)),
        ] {
            assert_eq!(read_probe(output.as_bytes()).presence, expected, "{output}");
        }
    }

    #[test]
    fn a_flood_of_facts_is_cut() {
        let mut lines = vec![format!("fact.long={}", "ä".repeat(FACT_BYTES_MAX))];
        lines.extend((0..200).map(|n| format!("fact.n{n}=1")));
        let reading = read_probe(lines.join("\n").as_bytes());
        assert_eq!(reading.facts.len(), FACTS_MAX);
        assert_eq!(reading.facts["long"].len(), FACT_BYTES_MAX);
    }

    #[test]
    fn p7_a_proof_holds_only_when_state_and_every_fact_agree() {
        let proof = Proof {
            state: Presence::Present,
            facts: BTreeMap::from([("release".to_owned(), Expected::Parameter("release".to_owned()))]),
        };
        let desired = Params::from([("release".to_owned(), "r2".to_owned())]);
        for (output, holds) in [
            ("state=present\nfact.release=r2", true),
            ("state=present\nfact.release=r1", false),
            ("state=present", false),
            ("state=absent\nfact.release=r2", false),
            ("fact.release=r2", false),
        ] {
            assert_eq!(proof.holds(&read_probe(output.as_bytes()), &desired), holds, "{output}");
        }
        assert!(
            !proof.holds(&read_probe(b"state=present"), &Params::new()),
            "an unset value proves nothing unseen"
        );
    }
}
