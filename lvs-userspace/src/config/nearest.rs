//! "Did you mean …?"

/// The one of `known` that `given` was probably meant to be, if one is near enough.
pub(super) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer than any word of the format: not worth a comparison.
    const LONGEST: usize = 32;

    if given.len() > LONGEST {
        return None;
    }
    let given = given.to_lowercase().replace('-', "_");
    let letters: Vec<char> = given.chars().collect();
    known
        .map(|word| match given.len() >= 3 && word.starts_with(&given) {
            true => (0, word),
            false => (distance(&letters, &word.chars().collect::<Vec<_>>()), word),
        })
        // One mistyped letter in three is a typing error, more is another word.
        .filter(|(distance, word)| distance * 3 <= word.len().max(letters.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Letters to insert, delete, replace or swap with their neighbour (optimal string alignment).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for (i, &a) in from.iter().enumerate() {
        let above = &rows[i];
        let mut row = vec![i + 1];
        for (j, &b) in to.iter().enumerate() {
            let mut least = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == to[j - 1] && b == from[i - 1] {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let keys = ["name", "vip", "port", "protocol", "real_servers", "weight"];
        for (given, meant) in [
            ("prot", Some("protocol")),
            ("prt", Some("port")),
            ("wieght", Some("weight")),
            ("real-servers", Some("real_servers")),
            ("realservers", Some("real_servers")),
            ("Port", Some("port")),
            ("proto", Some("protocol")),
            ("vpi", Some("vip")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, keys.into_iter()), meant, "{given}");
        }
    }
}
