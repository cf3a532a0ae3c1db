//! "Did you mean": the nearest known word to a mistyped one.

/// Words further away than this many edits are no help.
const EDITS_MAX: usize = 2;
/// Longer words are not compared, in bytes.
const WORD_BYTES_MAX: usize = 64;

/// ` (did you mean `x`?)`, or nothing when no word is near.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    if word.len() > WORD_BYTES_MAX {
        return String::new();
    }
    let nearest = known.into_iter().map(|candidate| (edits(word, candidate), candidate)).min();
    match nearest {
        Some((distance, candidate)) if distance <= EDITS_MAX && distance < candidate.chars().count() => {
            format!(" (did you mean `{candidate}`?)")
        }
        _ => String::new(),
    }
}

/// Number of characters to insert, delete, replace or swap with their neighbour.
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut table = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            table[i][j] = if i == 0 || j == 0 {
                i.max(j)
            } else {
                let replaced = table[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                let nearest = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
                if swapped { nearest.min(table[i - 2][j - 2] + 1) } else { nearest }
            };
        }
    }
    table[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_named_and_a_far_one_is_not() {
        assert_eq!(did_you_mean("scirpt", ["title", "script"]), " (did you mean `script`?)");
        assert_eq!(did_you_mean("colour", ["title", "script"]), "");
        assert_eq!(did_you_mean("", ["key"]), "");
    }
}
