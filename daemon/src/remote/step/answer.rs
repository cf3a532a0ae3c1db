//! What comes back: frames, after whatever the login had to say. Pure and total: any bytes give frames or an error.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::request::{OUTPUT_BYTES_PER_ANSWER, PROBE_OUTPUT_BYTES};
use crate::domain::step::{Cause, Ended, StepId};
use crate::remote::holder::Span;
use crate::remote::{Claimed, Hello, Holder, News, ProbeAnswer, RemoteError, Report, Scene, StepStatus};

/// One line of an answer, without the word that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A word and the rest of its line.
    Line(String, String),
    /// Bytes.
    Data(Vec<u8>),
}

/// The frames of a complete answer, or `None` when it is not complete. What stands before and between them is skipped.
pub(super) fn frames(stdout: &[u8], nonce: &str) -> Option<Vec<Frame>> {
    let opening = format!("SETTLED1 {nonce} ");
    let mut frames = Vec::new();
    let mut rest = stdout;
    while !rest.is_empty() {
        let (line, after) = split_line(rest)?;
        rest = after;
        let Some(line) = line.strip_prefix(opening.as_bytes()) else { continue };
        let line = String::from_utf8_lossy(line);
        let (word, detail) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "end" => return Some(frames),
            "data" => {
                let length = detail.trim().parse().ok()?;
                let (data, after) = rest.split_at_checked(length)?;
                frames.push(Frame::Data(data.to_vec()));
                rest = after;
            }
            _ => frames.push(Frame::Line(word.to_owned(), detail.trim_end().to_owned())),
        }
    }
    None
}

/// The first line of `bytes` without its end, and what follows. `None` when no line ends.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// An answer whose refusals were taken out: what remains is what the verb gives when it worked.
pub(super) struct Answer {
    lines: Vec<(String, String)>,
    data: Vec<u8>,
}

impl Answer {
    /// Reads frames; refusals become errors.
    pub(super) fn read(frames: Vec<Frame>, id: Option<StepId>) -> Result<Self, RemoteError> {
        let mut answer = Self { lines: Vec::new(), data: Vec::new() };
        for frame in frames {
            match frame {
                Frame::Data(data) => answer.data.extend_from_slice(&data),
                Frame::Line(word, detail) => match (word.as_str(), id) {
                    ("refused", _) => return Err(RemoteError::Refused(detail)),
                    ("failed", _) => return Err(RemoteError::Unreachable(detail)),
                    ("fenced", _) => return Err(RemoteError::Fenced { highest: number(&detail)? }),
                    ("conflict", Some(id)) => return Err(RemoteError::Conflict(id)),
                    _ => answer.lines.push((word, detail)),
                },
            }
        }
        Ok(answer)
    }

    pub(super) fn claimed(&self) -> Result<Claimed, RemoteError> {
        self.one("claimed")?;
        Ok(Claimed { steps: self.reports()?, tombstones: self.tombstones() })
    }

    pub(super) fn forgotten(&self) -> Result<(), RemoteError> {
        self.one("forgotten").map(drop)
    }

    pub(super) fn hello(&self) -> Result<Hello, RemoteError> {
        let (epoch, owner) = self.one("epoch")?.split_once(' ').unwrap_or((self.one("epoch")?, ""));
        let mut facts = BTreeMap::new();
        for detail in self.all("fact") {
            let (key, value) = detail.split_once(' ').unwrap_or((detail, ""));
            facts.insert(key.to_owned(), value.to_owned());
        }
        if let Some(detail) = self.all("holder").next() {
            facts.insert("dpkg_lock".to_owned(), holder(detail)?.to_string());
        }
        if let Some(detail) = self.all("lane").next() {
            facts.insert("lane".to_owned(), lane(detail)?);
        }
        Ok(Hello {
            machine_id: self.one("machine")?.to_owned(),
            boot_id: self.one("boot")?.to_owned(),
            epoch: number(epoch)?,
            installation: Some(owner.to_owned()).filter(|owner| !owner.is_empty()),
            facts,
        })
    }

    /// How the try `id` stands.
    pub(super) fn report(&self, id: StepId) -> Result<Report, RemoteError> {
        if let Some(status) = self.not_now()? {
            return Ok(bare(status));
        }
        match self.reports()?.into_iter().next() {
            Some((found, report)) if found == id => Ok(report),
            _ => Err(unexpected(&format!("no word of step {id}"))),
        }
    }

    /// What kept `start` from storing anything.
    fn not_now(&self) -> Result<Option<StepStatus>, RemoteError> {
        if let Some(detail) = self.all("busy").next() {
            return Ok(Some(StepStatus::Busy { holder: holder(detail)? }));
        }
        let packages = self.all("interrupted").next();
        Ok(packages.map(|packages| StepStatus::Interrupted { packages: packages.to_owned() }))
    }

    /// All tries that are told of. Names that are not a step's are somebody else's, and skipped.
    pub(super) fn reports(&self) -> Result<Vec<(StepId, Report)>, RemoteError> {
        let mut reports: Vec<(StepId, Report)> = Vec::new();
        // Processes, scenes and results belong to the step before them, if that is known.
        let mut known = false;
        for (word, detail) in &self.lines {
            match (word.as_str(), reports.last_mut()) {
                ("step", _) => {
                    let step = step(detail)?;
                    known = step.is_some();
                    reports.extend(step);
                }
                ("process", Some((_, report))) if known => report.processes.push(detail.clone()),
                ("scene", Some((_, report))) if known => report.scene = scene(detail),
                ("result", Some((_, report))) if known => report.result = result(detail)?,
                _ => {}
            }
        }
        Ok(reports)
    }

    /// Tombstones that the server still has.
    fn tombstones(&self) -> Vec<StepId> {
        self.all("tombstone").filter_map(|name| name.parse().ok()).collect()
    }

    pub(super) fn news(self, id: StepId) -> Result<News, RemoteError> {
        let report = self.report(id)?;
        if self.data.len() > OUTPUT_BYTES_PER_ANSWER {
            return Err(unexpected("more output than was asked for"));
        }
        Ok(News { report, output: self.data })
    }

    pub(super) fn probed(self) -> Result<ProbeAnswer, RemoteError> {
        let exit_code = number(self.one("probed")?)?;
        if self.data.len() > PROBE_OUTPUT_BYTES {
            return Err(unexpected("more output than was asked for"));
        }
        let told = self.all("result").next().map(result).transpose()?.unwrap_or_default();
        Ok(ProbeAnswer { exit_code, output: self.data, told })
    }

    fn all<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter(move |(found, _)| found == word).map(|(_, detail)| detail.as_str())
    }

    fn one(&self, word: &str) -> Result<&str, RemoteError> {
        self.lines
            .iter()
            .find(|(found, _)| found == word)
            .map(|(_, detail)| detail.as_str())
            .ok_or_else(|| unexpected(&format!("it does not say `{word}`")))
    }
}

/// `ID STATE BYTES TRUNCATED [DETAIL...]`; `None` when ID does not name a step.
fn step(detail: &str) -> Result<Option<(StepId, Report)>, RemoteError> {
    let mut words = detail.splitn(5, ' ');
    let mut word = || words.next().unwrap_or_default();
    let Ok(id) = word().parse() else { return Ok(None) };
    let state = word();
    let (output_bytes, truncated) = (number(word())?, word() == "1");
    let why = word().trim();
    let status = match state {
        "absent" => StepStatus::Absent,
        "accepted" => StepStatus::Accepted,
        "running" => StepStatus::Running,
        "orphaned" => StepStatus::Orphaned,
        "reaped" => StepStatus::Reaped,
        "rejected" => StepStatus::Ended(Ended::Rejected { why: why.to_owned() }),
        "lost" => StepStatus::Ended(Ended::Lost { why: why.to_owned() }),
        "exited" => {
            let (code, by) = why.split_once(' ').unwrap_or((why, ""));
            StepStatus::Ended(Ended::Exited { code: number(code)?, cause: cause(by.trim())? })
        }
        other => return Err(unexpected(&format!("a step cannot be `{other}`"))),
    };
    Ok(Some((id, Report { output_bytes, truncated, ..bare(status) })))
}

/// A report of a status alone.
const fn bare(status: StepStatus) -> Report {
    Report {
        status,
        output_bytes: 0,
        truncated: false,
        processes: Vec::new(),
        scene: None,
        result: Vec::new(),
    }
}

/// `BOOT BOOT free|held`; the first is `-` for a step that did not begin.
fn scene(detail: &str) -> Option<Scene> {
    let mut words = detail.split(' ');
    let (before, now, lane) = (words.next()?, words.next()?, words.next()?);
    let boot_before = if before == "-" { String::new() } else { before.to_owned() };
    Some(Scene { boot_before, boot_now: now.to_owned(), lane_free: lane == "free" })
}

/// Base64, on one line.
fn result(detail: &str) -> Result<Vec<u8>, RemoteError> {
    STANDARD.decode(detail).map_err(|_| unexpected("what a step has written is not in base64"))
}

/// `PID SECONDS NAME`.
fn holder(detail: &str) -> Result<Holder, RemoteError> {
    let mut words = detail.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (pid, age) = (number(word())?, Duration::from_secs(number(word())?));
    Ok(Holder { name: word().to_owned(), pid, age })
}

/// `ID SECONDS PROCESSES`, in words.
fn lane(detail: &str) -> Result<String, RemoteError> {
    let mut words = detail.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (id, age) = (word(), Span(Duration::from_secs(number(word())?)));
    let processes = word().trim_end_matches([' ', ',']);
    Ok(format!("step {id}, for {age}: {}", if processes.is_empty() { "no process" } else { processes }))
}

fn cause(word: &str) -> Result<Cause, RemoteError> {
    Cause::parse(word).ok_or_else(|| unexpected(&format!("a step cannot be ended by `{word}`")))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, RemoteError> {
    text.trim().parse().map_err(|_| unexpected(&format!("`{text}` where a number should be")))
}

pub(super) fn unexpected(what: &str) -> RemoteError {
    RemoteError::Protocol(what.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "00000000000000000000000001.0.1.1";

    fn read(text: &str) -> Result<Answer, RemoteError> {
        Answer::read(frames(text.as_bytes(), "n").expect("complete"), ID.parse().ok())
    }

    fn status(detail: &str) -> Result<StepStatus, RemoteError> {
        let answer = read(&format!("SETTLED1 n step {ID} {detail}\nSETTLED1 n end\n"))?;
        answer.report(ID.parse().expect("an id")).map(|report| report.status)
    }

    #[test]
    fn noise_is_skipped_and_another_nonce_is_noise() {
        let text = "Welcome\nSETTLED1 x end\nSETTLED1 n claimed 7\nhm\nSETTLED1 n end\ntail";
        assert_eq!(read(text).and_then(|answer| answer.claimed()).map(drop), Ok(()));
    }

    #[test]
    fn an_answer_without_its_end_is_none() {
        let whole = b"SETTLED1 n claimed 7\nSETTLED1 n data 3\nab\n\nSETTLED1 n end\n";
        assert!(frames(whole, "n").is_some());
        for length in 0..whole.len() {
            assert_eq!(frames(&whole[..length], "n"), None, "{length} bytes");
        }
    }

    #[test]
    fn data_may_look_like_an_answer() {
        let text = "SETTLED1 n data 15\nSETTLED1 n end\n\nSETTLED1 n end\n";
        assert_eq!(read(text).map(|answer| answer.data), Ok(b"SETTLED1 n end\n".to_vec()));
    }

    #[test]
    fn every_state_is_read() {
        let rejected = |why: &str| StepStatus::Ended(Ended::Rejected { why: why.to_owned() });
        assert_eq!(status("absent 0 0"), Ok(StepStatus::Absent));
        assert_eq!(status("accepted 0 0 "), Ok(StepStatus::Accepted));
        assert_eq!(status("running 5 0 "), Ok(StepStatus::Running));
        assert_eq!(status("reaped 0 0"), Ok(StepStatus::Reaped));
        assert_eq!(status("rejected 0 0 disk   "), Ok(rejected("disk")));
        assert_eq!(
            status("rejected 0 0 lane-orphaned by x: 1 a, 2 b"),
            Ok(rejected("lane-orphaned by x: 1 a, 2 b"))
        );
        let exited = StepStatus::Ended(Ended::Exited { code: 143, cause: Cause::Deadline });
        assert_eq!(status("exited 5 1 143 deadline"), Ok(exited));
        for bad in ["", "exited 5 0", "exited 5 0 x itself", "exited 5 0 1 nobody", "gone 0 0", "running x 0"]
        {
            assert!(matches!(status(bad), Err(RemoteError::Protocol(_))), "{bad}");
        }
    }

    #[test]
    fn processes_belong_to_their_step_and_strangers_are_skipped() {
        let text = format!(
            "SETTLED1 n step notes 0 0\nSETTLED1 n process 1 x\nSETTLED1 n step {ID} orphaned 0 0\n\
             SETTLED1 n process 12 a b\nSETTLED1 n scene b1 b2 free\nSETTLED1 n step other running 0 0\nSETTLED1 n process 3 y\nSETTLED1 n end\n"
        );
        let reports = read(&text).and_then(|answer| answer.reports()).expect("read");
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].1.status, StepStatus::Orphaned);
        assert_eq!(reports[0].1.processes, ["12 a b"]);
        let scene = Scene { boot_before: "b1".to_owned(), boot_now: "b2".to_owned(), lane_free: true };
        assert_eq!(reports[0].1.scene, Some(scene));
    }

    #[test]
    fn refusals_are_errors() {
        let error =
            |line: &str| read(&format!("SETTLED1 n {line}\nSETTLED1 n end\n")).map(|_| ()).unwrap_err();
        assert_eq!(error("refused do this"), RemoteError::Refused("do this".to_owned()));
        assert_eq!(error("failed disk full"), RemoteError::Unreachable("disk full".to_owned()));
        assert_eq!(error("fenced 12"), RemoteError::Fenced { highest: 12 });
        assert_eq!(error("conflict"), RemoteError::Conflict(ID.parse().expect("an id")));
    }

    proptest! {
        /// Any bytes give frames or nothing, and any frames give an answer or an error.
        #[test]
        fn reading_is_total(
            lines in proptest::collection::vec(
                prop_oneof![
                    "(SETTLED1 n )?(step|data|end|process|scene|fact|epoch|machine|probed|claimed|fenced|busy|interrupted|holder|lane)( [a-z0-9. -]{0,40})?\n",
                    proptest::collection::vec(any::<u8>(), 0..60)
                        .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
                ],
                0..12,
            ),
            whole in any::<bool>(),
        ) {
            let text = lines.concat() + if whole { "\nSETTLED1 n end\n" } else { "" };
            if let Some(frames) = frames(text.as_bytes(), "n") {
                let id = ID.parse().expect("an id");
                if let Ok(answer) = Answer::read(frames, Some(id)) {
                    // Only that they return matters here.
                    drop((answer.claimed(), answer.hello(), answer.reports(), answer.report(id)));
                    drop(answer.news(id));
                }
            }
        }
    }
}
