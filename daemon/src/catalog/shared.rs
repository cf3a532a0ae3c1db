//! Shell text that packages share: a definition names it in `uses`, and its scripts begin with it.
//!
//! A definition is kept by digest and read again years later, by a program whose shared texts are others by then. So what is kept, and
//! digested, is the author's text followed by a table `[shared]` with the texts that it used on the day it was loaded.

use super::definition::Definition;

/// A text of the program: name and shell text. None has `'''` in it.
pub(super) const BUILTIN: [(&str, &str); 4] = [
    ("base", include_str!("../../packages/shared/base.sh")),
    (
        "debian",
        concat!(
            include_str!("../../packages/shared/base.sh"),
            include_str!("../../packages/shared/debian.sh")
        ),
    ),
    ("service", include_str!("../../packages/shared/service.sh")),
    ("ssh", include_str!("../../packages/shared/ssh.sh")),
];

/// What stands between the author's text and the shared texts.
const MARK: &str = "\n# What it uses, as it was when this was loaded.\n[shared]\n";

/// Shared text that a definition uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shared {
    /// Its name.
    pub(super) name: String,
    /// Shell text.
    pub(super) text: String,
}

/// The text of a definition as it is kept: whole in itself. Without shared text it is the author's, byte by byte.
pub(super) fn self_contained(text: &str, uses: &[Shared]) -> String {
    if uses.is_empty() {
        return text.to_owned();
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let mut whole = [text, end, MARK].concat();
    for Shared { name, text } in uses {
        whole.extend([name, " = '''\n", text, "'''\n"]);
    }
    whole
}

impl Definition {
    /// The text as its author wrote it, without the shared texts that it uses.
    pub fn source(&self) -> &str {
        self.text.split_once(MARK).map_or(&self.text, |(source, _)| source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_texts_can_stand_in_toml_as_they_are() {
        for (name, text) in BUILTIN {
            assert!(!text.contains("'''") && text.ends_with('\n'), "{name}");
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{name}");
        }
    }
}
