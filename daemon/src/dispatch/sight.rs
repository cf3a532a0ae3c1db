//! What a look at a resource has seen, beside what should be there.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::catalog::{self, ProbeReading, read_probe, read_told};
use crate::domain::grounds::{Probed, Seen};
use crate::domain::operation::Operation;
use crate::domain::params::{Outputs, Params};
use crate::domain::resource::{Difference, Presence};
use crate::remote::{ProbeAnswer, RESULT_BYTES_MAX};
use crate::secrets::Mask;

/// A look that was answered. Nothing in it shows a secret.
pub(super) struct Sight {
    /// What the probe said.
    pub(super) answer: ProbeAnswer,
    /// What it wrote for whoever asked; the error is the end of a sentence.
    pub(super) told: Result<Outputs, String>,
    /// What was read in it.
    pub(super) shown: ProbeReading,
    /// What of it a verdict rests on.
    pub(super) seen: Seen,
    /// Where it is not as expected; `None` when nothing was expected, or nothing was seen.
    pub(super) differences: Option<Vec<Difference>>,
}

/// What the answer means for the run that asked.
pub(super) enum Verdict {
    /// The exit code of the probe says it.
    AsRecorded,
    /// That it was answered is all.
    Answered,
    /// What is there is what was said of it.
    Proven,
    /// It is not, in words.
    Differs(String),
}

impl Sight {
    pub(super) fn new(
        mut answer: ProbeAnswer,
        masked: Vec<Zeroizing<Vec<u8>>>,
        expected: Option<&(catalog::Proof, Params)>,
    ) -> Self {
        let raw = read_probe(&answer.output);
        let told = if answer.told.len() > RESULT_BYTES_MAX {
            Err(format!("more than {RESULT_BYTES_MAX} bytes"))
        } else {
            read_told(&Mask::new(masked.clone()).pass(&answer.told, true))
        };
        answer.output = Mask::new(masked).pass(&answer.output, true);
        let shown = read_probe(&answer.output);
        let answered = answer.exit_code == 0 && raw.presence.is_some();
        let differences = expected.filter(|_| answered).map(|(proof, params)| {
            let mut differences = proof.differences(&raw, params);
            for difference in &mut differences {
                if let Some(found) = shown.facts.get(&difference.fact) {
                    difference.found.clone_from(found);
                }
            }
            differences
        });
        let named = |name: &str| expected.is_some_and(|(proof, _)| proof.facts.contains_key(name));
        let facts: BTreeMap<_, _> =
            shown.facts.iter().filter(|(name, _)| named(name)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let probe = shown.presence.map(|presence| Probed { presence, facts });
        let seen = Seen { probe: probe.filter(|_| expected.is_some()), ..Seen::default() };
        Self { answer, told, shown, seen, differences }
    }

    /// Whether it is there, as far as the probe could tell.
    pub(super) fn presence(&self) -> Presence {
        self.shown.presence.filter(|_| self.answer.exit_code == 0).unwrap_or(Presence::Unknown)
    }

    pub(super) fn verdict(&self, operation: &Operation) -> Verdict {
        match operation {
            Operation::Remove => Verdict::Answered,
            Operation::Adopt => match &self.differences {
                Some(none) if none.is_empty() => Verdict::Proven,
                Some(differences) => Verdict::Differs(format!(
                    "what is on the server is not what was given: {}",
                    in_words(differences)
                )),
                None => Verdict::Differs("the probe could not tell what is on the server".to_owned()),
            },
            _ => Verdict::AsRecorded,
        }
    }
}

fn in_words(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
