//! The package of these tests, and what its payloads leave on the server for the judge.

use std::collections::BTreeMap;
use std::path::Path;

/// Its name.
pub(crate) const PACKAGE: &str = "witness";

/// Each step says that it began, notices whether something else is at work, writes output that nobody can guess, notes its SHA-256,
/// and says that it ended.
pub(crate) const DEFINITION: &str = r#"
name = "witness"
summary = "Leaves a witness of each step on the server"

prelude = '''
work() {
    exec 6>>"$P_DIR/lock"
    flock -n 6 || echo "overlap $SETTLED_STEP" >>"$P_DIR/witness"
    echo "begin $SETTLED_STEP" >>"$P_DIR/witness"
    text=$P_DIR/output.$SETTLED_STEP
    head -c "$P_BYTES" /dev/urandom | base64 >"$text"
    head -n 40 "$text"
    sleep "0.$P_PAUSE"
    tail -n +41 "$text"
    sum=$(sha256sum <"$text")
    echo "sum $SETTLED_STEP ${sum%% *}" >>"$P_DIR/witness"
    rm -f "$text"
    echo "end $SETTLED_STEP" >>"$P_DIR/witness"
}
'''

[parameters.dir]
type = "path"
summary = "Where the witness is"

[parameters.bytes]
type = "integer"
summary = "How much is written, before base64"
min = 0
max = 1000000

[parameters.pause]
type = "integer"
summary = "How long it takes at least, in tenths of a second"
min = 0
max = 9

[operations.install]
timeout = "1m"

[[operations.install.steps]]
title = "First"
script = "work"

[[operations.install.steps]]
title = "Second"
script = "work"

[operations.update]
timeout = "1m"
steps = [{ title = "Change", script = "work" }]

[operations.remove]
timeout = "1m"
steps = [{ title = "Remove", script = "work" }]
"#;

/// A package whose step ends when its resource's directory holds a file `go`.
pub(crate) const PATIENT: &str = "patient";

/// Installing has two minutes; `hurry` waits for a file `stop`, and has two seconds.
pub(crate) const PATIENT_DEFINITION: &str = r#"
name = "patient"
summary = "Waits for a file"

[parameters.dir]
type = "path"
summary = "Where its files are"

[operations.install]
timeout = "2m"

[[operations.install.steps]]
title = "Wait"
script = '''
echo "begin $SETTLED_STEP" >>"$P_DIR/witness"
while [ ! -e "$P_DIR/go" ]; do sleep 0.05; done
echo "end $SETTLED_STEP" >>"$P_DIR/witness"
'''

[operations.hurry]
timeout = "2s"

[[operations.hurry.steps]]
title = "Wait, but not for long"
script = '''
echo "begin $SETTLED_STEP" >>"$P_DIR/witness"
while [ ! -e "$P_DIR/stop" ]; do sleep 0.05; done
echo "end $SETTLED_STEP" >>"$P_DIR/witness"
'''

[operations.remove]
steps = [{ title = "Nothing", script = "true" }]
"#;

/// A package whose step writes a line every second until its directory holds a file `go`.
pub(crate) const TICKING: &str = "ticking";

pub(crate) const TICKING_DEFINITION: &str = r#"
name = "ticking"
summary = "Writes a line every second"

[parameters.dir]
type = "path"
summary = "Where its files are"

[operations.install]
timeout = "30m"

[[operations.install.steps]]
title = "Tick"
script = '''
echo "begin $SETTLED_STEP" >>"$P_DIR/witness"
while [ ! -e "$P_DIR/go" ]; do echo tick; sleep 1; done
echo "end $SETTLED_STEP" >>"$P_DIR/witness"
'''

[operations.remove]
steps = [{ title = "Nothing", script = "true" }]
"#;

/// What one server has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How often each step began.
    pub(crate) begun: BTreeMap<String, u32>,
    /// How often each step ended.
    pub(crate) ended: BTreeMap<String, u32>,
    /// SHA-256 of what each step wrote, hex.
    pub(crate) sums: BTreeMap<String, String>,
    /// Steps that found another at work.
    pub(crate) overlaps: Vec<String>,
}

impl Seen {
    /// Reads the witness in this directory, and adds it.
    pub(crate) fn read(&mut self, dir: &Path) {
        for line in std::fs::read_to_string(dir.join("witness")).unwrap_or_default().lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["begin", id] => *self.begun.entry(id.to_owned()).or_default() += 1,
                ["end", id] => *self.ended.entry(id.to_owned()).or_default() += 1,
                ["sum", id, sum] => drop(self.sums.insert(id.to_owned(), sum.to_owned())),
                ["overlap", id] => self.overlaps.push(id.to_owned()),
                _ => panic!("nobody writes such a line: {line}"),
            }
        }
    }
}

/// How much the witness has grown to.
pub(crate) fn length(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("witness")).map_or(0, |meta| meta.len())
}
