//! Suggestions for a mistyped name.

/// More letters than these are no slip of the finger.
const CHANGED_MAX: usize = 2;

/// Finds the candidate that `name` abbreviates, or else the one with the fewest letters changed;
/// `None` when every candidate is too far away.
pub(super) fn suggest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const SHORT_CHARS_MIN: usize = 4;
    let chars = name.chars().count();
    let far = (chars / 3).clamp(1, CHANGED_MAX);
    let distance = |candidate: &str| match candidate.starts_with(name) && chars >= SHORT_CHARS_MIN {
        true => 1,
        false => distance(name, candidate),
    };
    candidates
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Counts the letters to add, remove, change or swap with their neighbour (the optimal string
/// alignment distance).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<usize>>()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let above = &rows[i - 1];
            let changed = above[j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = changed.min(above[j] + 1).min(row[j - 1] + 1);
            let is_swap =
                i > 1 && j > 1 && (one[i - 1], one[i - 2]) == (other[j - 2], other[j - 1]);
            if is_swap {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted_that_differ() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("lisen", "listen", 1),
            ("kye", "key", 1),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn only_what_is_near_is_meant() {
        let names = ["listen", "workers", "reactors"];
        assert_eq!(suggest("lisen", names), Some("listen"));
        assert_eq!(suggest("worker", names), Some("workers"));
        assert_eq!(suggest("database", names), None);
        assert_eq!(suggest("x", names), None);
        assert_eq!(suggest("work", names), Some("workers"));
        let variables = ["TIDINGS_PAGE", "TIDINGS_NODE"];
        assert_eq!(suggest("TIDINGS_DATA", variables), None);
        assert_eq!(suggest("TIDINGS_PGAE", variables), Some("TIDINGS_PAGE"));
    }
}
