//! "Did you mean": the nearest known word to a mistyped one.

/// Words further away than this many edits are no help.
const EDITS_MAX: usize = 2;

/// ` (did you mean `x`?)`, or nothing when no word is near.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let nearest = known.into_iter().map(|candidate| (edits(word, candidate), candidate)).min();
    match nearest {
        Some((distance, candidate)) if distance <= EDITS_MAX && distance < candidate.chars().count() => {
            format!(" (did you mean `{candidate}`?)")
        }
        _ => String::new(),
    }
}

/// Number of characters to insert, delete or replace (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
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
