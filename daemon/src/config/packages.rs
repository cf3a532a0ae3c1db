//! What the timings must bear of the operations of packages (P13): checked when packages are loaded, and again at every reload.
//!
//! What an operation says of itself alone is checked where it is read. Here it meets the configuration.

use std::time::Duration;

use super::rules::{longest_pause_s, of_every_queue_limit, takeover_s};
use super::{BACKOFF_MAX_S, Config};

const DAY_S: u64 = 86_400;

/// What an operation asks of the timings.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// Timeout and time between TERM and KILL of each of its steps; `None` for the second leaves it to `run.kill_grace_s`.
    pub steps: &'a [(Duration, Option<Duration>)],
    /// How many attempts it gets; `None` leaves it to `run.attempts`.
    pub attempts: Option<u32>,
    /// How long a run of it may stay queued; `None` leaves it to `run.queue_limit_s`.
    pub queue_limit: Option<Duration>,
}

impl Config {
    /// Whether an operation fits the timings. Answers one sentence for each thing that does not: it names the keys of both, and a value
    /// that is safe.
    pub fn misfits(&self, demand: Demand<'_>) -> Vec<String> {
        let alone = [self.too_long(demand), self.pauses_too_long(demand), self.forgotten(demand)];
        alone.into_iter().flatten().chain(self.too_soon(demand)).collect()
    }

    /// The shortest queue limit that an operation or a request may have.
    pub fn queue_limit_least(&self) -> Duration {
        Duration::from_secs(of_every_queue_limit().map(|rule| (rule.least)(self)).max().unwrap_or(0))
    }

    /// How long the silence of a run may last while another daemon takes over its server, which is ordinary.
    pub fn takeover(&self) -> Duration {
        Duration::from_secs(takeover_s(self))
    }

    /// A limit of its own must bear what that of the configuration must.
    fn too_soon(&self, demand: Demand<'_>) -> impl Iterator<Item = String> {
        let own = demand.queue_limit.map(|limit| limit.as_secs());
        of_every_queue_limit().filter_map(move |rule| rule.broken_by("queue_limit", own?, self))
    }

    /// What stands behind a try in its lane must not end before that try can have ended, with everything that belongs to its end. That may
    /// be any run, also another of this operation.
    fn too_long(&self, demand: Demand<'_>) -> Option<String> {
        let own = demand.queue_limit.filter(|own| *own < self.run.queue_limit());
        let limit = own.unwrap_or(self.run.queue_limit());
        let limit_key = own.map_or("run.queue_limit_s", |_| "its queue_limit");
        let end = |&(timeout, grace): &(Duration, Option<Duration>)| {
            timeout + grace.unwrap_or(self.run.kill_grace()) + self.run.settle_margin()
        };
        let longest = demand.steps.iter().max_by_key(|step| end(step)).filter(|step| end(step) >= limit)?;
        let (timeout, grace) = (longest.0.as_secs(), longest.1);
        let grace_key = grace.map_or("run.kill_grace_s", |_| "its kill_grace");
        let least = end(longest).as_secs() + 1;
        let room = limit.saturating_sub(end(longest).saturating_sub(longest.0)).as_secs().saturating_sub(1);
        let lower = if room > 0 { format!(", or timeout to {room}s or less") } else { String::new() };
        Some(format!(
            "timeout = {timeout}s is too long for {limit_key} = {}: with {grace_key} = {} and run.settle_margin_s = {} what is \
             queued behind it would end as never started while a step of it may still run. Set {limit_key} to {least} or more{lower}",
            limit.as_secs(),
            grace.unwrap_or(self.run.kill_grace()).as_secs(),
            self.run.settle_margin_s,
        ))
    }

    /// What waits between two attempts is settled when it has waited for longer than a run may stay queued.
    fn pauses_too_long(&self, demand: Demand<'_>) -> Option<String> {
        let attempts = demand.attempts?;
        let (pause, limit) = (longest_pause_s(self.run.backoff_s, attempts), self.run.queue_limit_s);
        (pause >= limit).then(|| {
            format!(
                "attempts = {attempts} is too many for run.queue_limit_s = {limit} and run.backoff_s = {}: a run would be settled in \
                 the pause before its last attempt. Set run.queue_limit_s to {} or more, or lower attempts",
                self.run.backoff_s,
                pause + 1
            )
        })
    }

    /// A request must be remembered for longer than what came of it can last.
    fn forgotten(&self, demand: Demand<'_>) -> Option<String> {
        let attempts = u64::from(demand.attempts.unwrap_or(self.run.attempts));
        let one: u64 = demand
            .steps
            .iter()
            .map(|(timeout, grace)| timeout.as_secs() + grace.unwrap_or(self.run.kill_grace()).as_secs())
            .sum();
        let queued = demand.queue_limit.unwrap_or(self.run.queue_limit()).as_secs();
        let all = queued + attempts * (one + self.run.settle_margin_s + BACKOFF_MAX_S);
        let (days, kept) = (all.div_ceil(DAY_S), u64::from(self.retention.requests_days));
        (days > kept).then(|| {
            format!(
                "it may stay queued for {queued}s ({}), the timeout of its steps is {one}s together with their kill_grace, and it has \
                 {attempts} attempts: too long for retention.requests_days = {kept}, because a repeated request would start a second \
                 run while the first may still go on. Set retention.requests_days to {days} or more, or lower one of these",
                demand.queue_limit.map_or("run.queue_limit_s", |_| "its queue_limit"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, Surroundings};
    use super::*;

    fn with(settings: &[(&str, &str)]) -> Config {
        let env =
            settings.iter().map(|(key, value)| (format!("SETTLED_{key}"), (*value).to_owned())).collect();
        Config::load(&Sources { env, ..Sources::default() }, &Surroundings::bare("/home/ann")).unwrap()
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    /// The number that follows `text`.
    fn advised(message: &str, text: &str) -> u64 {
        let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
        let found = message.split(text).nth(1).unwrap_or_else(|| panic!("no `{text}` in: {message}"));
        digits(found).parse().unwrap()
    }

    #[test]
    fn p13_a_timeout_that_the_queue_limit_cannot_bear_is_named_with_both_keys_and_values_that_are_safe() {
        let asked = |timeout: u64, grace: Option<u64>, limit: u64| {
            let config = with(&[("RUN__QUEUE_LIMIT_S", &limit.to_string())]);
            config.misfits(Demand {
                steps: &[(seconds(timeout), grace.map(seconds))],
                attempts: None,
                queue_limit: None,
            })
        };
        // 600 s + 30 s (run.kill_grace_s) + 120 s (run.settle_margin_s).
        assert_eq!(asked(600, None, 751), [""; 0]);
        for (grace, words) in [(None, "run.kill_grace_s = 30"), (Some(300), "its kill_grace = 300")] {
            let [message] = &asked(600, grace, 750)[..] else { panic!("one fault") };
            for part in ["timeout = 600s", "run.queue_limit_s = 750", words, "run.settle_margin_s = 120"] {
                assert!(message.contains(part), "{part}: {message}");
            }
            let limit = advised(message, "Set run.queue_limit_s to ");
            assert_eq!(
                (asked(600, grace, limit).len(), asked(600, grace, limit - 1).len()),
                (0, 1),
                "{message}"
            );
            let timeout = advised(message, "or timeout to ");
            assert_eq!(
                (asked(timeout, grace, 750).len(), asked(timeout + 1, grace, 750).len()),
                (0, 1),
                "{message}"
            );
        }
        let [message] = &asked(600, Some(3600), 750)[..] else { panic!("one fault") };
        assert!(!message.contains("or timeout to"), "no timeout would do: {message}");
    }

    #[test]
    fn p13_attempts_whose_pauses_the_queue_limit_cannot_bear_are_named_with_both_keys() {
        let asked = |attempts: u32, limit: u64| {
            let config = with(&[("RUN__QUEUE_LIMIT_S", &limit.to_string())]);
            config.misfits(Demand {
                steps: &[(seconds(1), None)],
                attempts: Some(attempts),
                queue_limit: None,
            })
        };
        assert_eq!(asked(4, 200), [""; 0], "30 s, 60 s, 120 s");
        let [message] = &asked(5, 200)[..] else { panic!("one fault") };
        for part in ["attempts = 5", "run.queue_limit_s = 200", "run.backoff_s = 30"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let limit = advised(message, "Set run.queue_limit_s to ");
        assert_eq!((asked(5, limit).len(), asked(5, limit - 1).len()), (0, 1), "{message}");
    }

    #[test]
    fn p13_an_operation_that_outlasts_the_memory_of_requests_is_named_with_both_keys() {
        let asked = |days: u32, queue_limit: Option<u64>| {
            let config = with(&[("RETENTION__REQUESTS_DAYS", &days.to_string())]);
            let steps = &[(seconds(DAY_S / 2), None); 3];
            config.misfits(Demand { steps, attempts: Some(10), queue_limit: queue_limit.map(seconds) })
        };
        for (limit, words) in
            [(None, "86400s (run.queue_limit_s)"), (Some(50_000), "50000s (its queue_limit)")]
        {
            let [message] = &asked(2, limit)[..] else { panic!("one fault") };
            for part in ["timeout", "retention.requests_days = 2", "attempts", words] {
                assert!(message.contains(part), "{part}: {message}");
            }
            let days = u32::try_from(advised(message, "Set retention.requests_days to ")).unwrap();
            assert_eq!((asked(days, limit).len(), asked(days - 1, limit).len()), (0, 1), "{message}");
        }
    }
}
