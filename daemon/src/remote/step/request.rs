//! What is sent: the text of a verb, preceded by its data. Pure; data becomes shell text in one function, [`quoted`].

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Layout;
use crate::domain::id::InstallationId;
use crate::domain::step::StepId;
use crate::remote::{Dpkg, ProbeSpec, RESULT_BYTES_MAX, StepSpec};

const BASE: &str = include_str!("sh/base.sh");
const RUN: &str = include_str!("sh/run.sh");
const SERVER: &str = include_str!("sh/server.sh");
const DPKG: &str = include_str!("sh/dpkg.sh");
const VERBS: &str = include_str!("sh/verbs.sh");
const HELLO: &str = include_str!("sh/hello.sh");
const PROBE: &str = include_str!("sh/probe.sh");

/// Output that one answer of `attach` carries at most, in bytes.
pub(super) const OUTPUT_BYTES_PER_ANSWER: usize = 256 * 1024;

/// Ended tries, and tombstones, that one answer tells of at most.
const PAST_PER_ANSWER: usize = 1000;

/// Output that a probe's answer carries at most, in bytes.
pub(super) const PROBE_OUTPUT_BYTES: usize = 64 * 1024;

/// The limit of the output is rounded down to this, and is not less: shells count `ulimit -f` in blocks of 512 or 1024 bytes.
const OUTPUT_UNIT_BYTES: u64 = 1024;

/// Linux refuses a longer `NAME=value` (`MAX_ARG_STRLEN`, 128 KiB).
const VARIABLE_BYTES_MAX: usize = 128 * 1024 - 1;

/// Names that belong to the protocol or that change how a shell works.
const RESERVED_NAMES: &[&str] = &[
    "PATH",
    "HOME",
    "LC_ALL",
    "LANG",
    "IFS",
    "ENV",
    "PPID",
    "PWD",
    "OLDPWD",
    "UID",
    "EUID",
    "SHELLOPTS",
    "BASHOPTS",
    "DEBIAN_FRONTEND",
    "NEEDRESTART_SUSPEND",
    "SETTLED_STEP",
    "SETTLED_SECRETS",
    "SETTLED_OUTPUT",
];
const RESERVED_PREFIXES: &[&str] = &["LD_", "BASH"];

/// Data that cannot be sent; says what is wrong with it, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRequest {
    #[error("`{0}` cannot name a variable of a step")]
    VariableName(String),
    #[error("the value of `{0}` holds a NUL byte")]
    VariableNul(String),
    #[error("the value of `{0}` is longer than 128 KiB")]
    VariableLength(String),
    #[error("the script holds a NUL byte")]
    ScriptNul,
    #[error("`{0}` cannot name a secret's file")]
    SecretName(String),
}

/// A verb with its data, ready to be sent.
pub(super) struct Request {
    /// Opens the lines of the answer, and of no other.
    pub(super) nonce: String,
    /// For `/bin/sh -s`; wiped when dropped, because it may carry secrets.
    pub(super) text: Zeroizing<Vec<u8>>,
}

/// Builds one request of `claimant`, which carries `nonce` and speaks of `layout`.
pub(super) struct Requests<'a> {
    pub(super) nonce: String,
    pub(super) claimant: &'a str,
    pub(super) layout: &'a Layout,
}

impl Requests<'_> {
    pub(super) fn hello(self) -> Request {
        self.request("hello", &[BASE, SERVER, DPKG, HELLO], String::new())
    }

    /// `name` is the server's, for what people are told to type.
    pub(super) fn claim(self, name: &str, installation: InstallationId, epoch: u64) -> Request {
        let name = quoted(name);
        self.verb(
            "claim",
            format!(
                "server_name={name}\ninstallation={installation}\nepoch={epoch}\nforce=0\nmax={PAST_PER_ANSWER}\n"
            ),
        )
    }

    pub(super) fn take_over(self, installation: InstallationId, epoch: u64) -> Request {
        let max = PAST_PER_ANSWER;
        self.verb("claim", format!("installation={installation}\nepoch={epoch}\nforce=1\nmax={max}\n"))
    }

    pub(super) fn list(self) -> Request {
        self.verb("list", format!("max={PAST_PER_ANSWER}\n"))
    }

    pub(super) fn attach(self, id: StepId, offset: u64, wait: Duration) -> Request {
        let wait = centiseconds(wait);
        let max = OUTPUT_BYTES_PER_ANSWER;
        self.verb("attach", format!("id={id}\noffset={offset}\nwait={wait}\nmax={max}\n"))
    }

    pub(super) fn cancel(self, id: StepId, epoch: u64) -> Request {
        self.verb("cancel", format!("id={id}\nepoch={epoch}\n"))
    }

    pub(super) fn abandon(self, id: StepId, epoch: u64) -> Request {
        self.verb("abandon", format!("id={id}\nepoch={epoch}\n"))
    }

    pub(super) fn reap(self, id: StepId, epoch: u64) -> Request {
        self.verb("reap", format!("id={id}\nepoch={epoch}\n"))
    }

    pub(super) fn gc(self, epoch: u64, forget: &[StepId]) -> Request {
        let names: Vec<_> = forget.iter().map(StepId::to_string).collect();
        let forget = quoted(&names.join(" "));
        self.verb("gc", format!("epoch={epoch}\nforget={forget}\n"))
    }

    pub(super) fn start(self, spec: &StepSpec) -> Result<Request, BadRequest> {
        let (id, epoch, digest) = (spec.id, spec.epoch, digest(spec));
        let dpkg = match spec.dpkg {
            Dpkg::Unused => "unused",
            Dpkg::Needed => "needed",
            Dpkg::Repaired => "repaired",
        };
        let environment = quoted(&environment(&spec.env)?);
        let script = quoted(checked_script(&spec.script)?);
        let limits = quoted(&limits(spec));
        let run = quoted(&compact(&[BASE, RUN]));
        let count = spec.secrets.len();
        // In one piece from the start: growing would leave copies of secrets behind.
        let mut data =
            String::with_capacity(environment.len() + script.len() + run.len() + secrets_size(spec));
        for (name, value) in [
            ("id", id.to_string()),
            ("epoch", epoch.to_string()),
            ("digest", digest),
            ("dpkg", dpkg.to_owned()),
            ("limits", limits),
            ("environment", environment),
            ("script", script),
            ("run", run),
            ("secret_count", count.to_string()),
        ] {
            data.extend([name, "=", &value, "\n"]);
        }
        data += "secrets() {\n";
        for (name, content) in &spec.secrets {
            let content = Zeroizing::new(STANDARD.encode(content.as_slice()));
            data += "  secret ";
            data += &quoted(checked_secret_name(name)?);
            data += " '";
            data += &content;
            data += "' || return 1\n";
        }
        // A function needs a command, also when there are no secrets.
        data += "  return 0\n}\n";
        Ok(self.verb("start", data))
    }

    pub(super) fn probe(self, spec: &ProbeSpec) -> Result<Request, BadRequest> {
        let environment = quoted(&environment(&spec.env)?);
        let script = quoted(checked_script(&spec.script)?);
        let (seconds, max) = (centiseconds(spec.timeout).div_ceil(100).max(1), PROBE_OUTPUT_BYTES);
        let data = format!("environment={environment}\nscript={script}\ntimeout={seconds}\nmax={max}\n");
        Ok(self.request("probe", &[BASE, SERVER, PROBE], data))
    }

    fn verb(self, verb: &str, data: String) -> Request {
        self.request(verb, &[BASE, SERVER, DPKG, VERBS], data)
    }

    /// Only the last line acts, and a part of it is no command: a text that was cut off does nothing.
    fn request(self, verb: &str, texts: &[&str], data: String) -> Request {
        let data = Zeroizing::new(data);
        let text = compact(texts);
        let nonce = quoted(&self.nonce);
        let state_dir = quoted(self.layout.state_dir.as_deref().unwrap_or_default());
        let shell = quoted(&self.layout.shell);
        let locks = quoted(&self.layout.dpkg_locks.join(" "));
        let claimant = quoted(self.claimant);
        let (dpkg_dir, os_release) =
            (quoted(&self.layout.dpkg_dir), quoted(&self.layout.os_release.join(" ")));
        let result_max = RESULT_BYTES_MAX + 1;
        let head = format!(
            "nonce={nonce}\nclaimant={claimant}\nstate_dir={state_dir}\nshell={shell}\ndpkg_locks={locks}\n\
             dpkg_dir={dpkg_dir}\nos_release={os_release}\nresult_max={result_max}\n"
        );
        let call = format!("{{ printf '\\n'; {verb}_verb; exit; }} </dev/null\n");
        let size = text.len() + data.len() + head.len() + call.len();
        let mut request = Request { nonce: self.nonce, text: Zeroizing::new(Vec::with_capacity(size)) };
        for part in [text.as_str(), &head, &data, &call] {
            request.text.extend_from_slice(part.as_bytes());
        }
        request
    }
}

/// One word of shell text that means exactly `value`, whatever it holds but NUL.
pub(super) fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// The texts without comment lines, which would only travel.
fn compact(texts: &[&str]) -> String {
    let mut compact = String::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        if !line.trim_start().starts_with('#') && !line.is_empty() {
            compact.push_str(line);
            compact.push('\n');
        }
    }
    compact
}

/// SHA-256 of everything that makes the try what it is: script, parameters, limits. Not the epoch, which rises, and not the secrets,
/// which may be sent anew. Each part is preceded by its length, so that no two contents look alike.
fn digest(spec: &StepSpec) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(spec.script.as_bytes());
    part(limits(spec).as_bytes());
    for (name, value) in &spec.env {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// Timeout and grace in centiseconds, output in bytes.
fn limits(spec: &StepSpec) -> String {
    let limits = &spec.limits;
    let output = (limits.output_bytes_max / OUTPUT_UNIT_BYTES).max(1) * OUTPUT_UNIT_BYTES;
    format!("{} {} {output}", centiseconds(limits.timeout), centiseconds(limits.grace))
}

fn centiseconds(span: Duration) -> u128 {
    span.as_millis() / 10
}

/// Shell text that exports `variables`.
fn environment(variables: &[(String, String)]) -> Result<String, BadRequest> {
    let mut text = String::new();
    for (name, value) in variables {
        if !is_variable_name(name) {
            return Err(BadRequest::VariableName(name.clone()));
        }
        if value.contains('\0') {
            return Err(BadRequest::VariableNul(name.clone()));
        }
        if name.len() + 1 + value.len() > VARIABLE_BYTES_MAX {
            return Err(BadRequest::VariableLength(name.clone()));
        }
        // Writing into a String cannot fail.
        writeln!(text, "{name}={}\nexport {name}", quoted(value)).ok();
    }
    Ok(text)
}

fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name != "_"
        && !RESERVED_NAMES.contains(&name)
        && !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn checked_script(script: &str) -> Result<&str, BadRequest> {
    if script.contains('\0') { Err(BadRequest::ScriptNul) } else { Ok(script) }
}

fn checked_secret_name(name: &str) -> Result<&str, BadRequest> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let good =
        !name.is_empty() && name.len() <= 255 && !name.starts_with(['.', '-']) && name.bytes().all(plain);
    if good { Ok(name) } else { Err(BadRequest::SecretName(name.to_owned())) }
}

fn secrets_size(spec: &StepSpec) -> usize {
    let one =
        |(name, content): &(String, Zeroizing<Vec<u8>>)| name.len() + content.len().div_ceil(3) * 4 + 32;
    1024 + spec.secrets.iter().map(one).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;
    use crate::domain::id::RunId;
    use crate::remote::Limits;

    fn spec() -> StepSpec {
        StepSpec {
            id: StepId { run: RunId(ulid::Ulid::from_parts(1, 1)), step: 0, attempt: 1, try_no: 1 },
            epoch: 1,
            script: "true".to_owned(),
            env: vec![("P_A".to_owned(), "b".to_owned())],
            secrets: vec![("key".to_owned(), b"hidden".to_vec().into())],
            dpkg: Dpkg::Unused,
            limits: Limits {
                timeout: Duration::from_mins(10),
                grace: Duration::from_secs(30),
                output_bytes_max: 65_536,
            },
        }
    }

    fn requests(layout: &Layout) -> Requests<'_> {
        Requests { nonce: "0123456789abcdef".to_owned(), claimant: "1", layout }
    }

    fn shell(text: &[u8]) -> Vec<u8> {
        let mut child = Command::new("/bin/sh")
            .arg("-s")
            .env("HOME", "/nowhere")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text).unwrap();
        child.wait_with_output().unwrap().stdout
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn p11_a_quoted_value_is_one_word_of_the_same_bytes(value in "[^\0]*|['\\\\\n$`\"! -]{0,30}") {
            let text = format!("printf '%s|' {}\n", quoted(&value));
            prop_assert_eq!(shell(text.as_bytes()), format!("{value}|").into_bytes());
        }
    }

    #[test]
    fn a_request_that_was_cut_off_does_nothing() {
        let layout = Layout { state_dir: Some("/nowhere/at/all".to_owned()), ..Layout::default() };
        let request = requests(&layout).start(&spec()).unwrap();
        let text = &request.text[..];
        let call = text.windows(2).rposition(|window| window == b"{ ").unwrap();
        let samples = (0..call).step_by(997).chain(call..text.len() - " </dev/null\n".len());
        for length in samples {
            assert_eq!(shell(&text[..length]), b"", "the first {length} bytes acted");
        }
    }

    #[test]
    fn the_digest_tells_contents_apart_and_ignores_what_may_change() {
        let mut same = spec();
        same.epoch = 9;
        same.secrets.clear();
        assert_eq!(digest(&spec()), digest(&same));

        let mut moved = spec();
        moved.env = vec![("P_".to_owned(), "Ab".to_owned())];
        let mut longer = spec();
        longer.limits.timeout += Duration::from_secs(1);
        let mut other = spec();
        other.script.push(' ');
        for changed in [moved, longer, other] {
            assert_ne!(digest(&spec()), digest(&changed));
        }
    }

    #[test]
    fn names_of_files_and_variables_are_checked() {
        for bad in ["", "a b", "1A", "A-B", "_", "PATH", "SETTLED_STEP", "LD_PRELOAD", "BASH_ENV", "É"] {
            assert!(!is_variable_name(bad), "{bad}");
        }
        for good in ["P_A", "OLD_a1", "_x"] {
            assert!(is_variable_name(good), "{good}");
        }
        for bad in ["", ".", "..", "-rf", "a/b", "a b", ".hidden", "a\n"] {
            assert!(checked_secret_name(bad).is_err(), "{bad}");
        }
        assert!(checked_secret_name("id_ed25519.pub").is_ok());
    }

    #[test]
    fn p12_a_secret_is_sent_only_encoded() {
        let layout = Layout::default();
        let request = requests(&layout).start(&spec()).unwrap();
        assert!(!request.text.windows(6).any(|window| window == b"hidden"));
    }
}
