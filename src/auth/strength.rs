/// A guess at how many bits of surprise a text holds, never far above the truth for random ones.
///
/// Repetitions and runs (`abcd`, `1111`) count as one character each; the rest counts by how evenly
/// its characters are used (Shannon). A word list is not consulted: it keeps out the careless, not
/// the unlucky.
pub(super) fn bits(text: &[u8]) -> f64 {
    let text = &text[..period(text)];
    let mut counts = [0_u32; 256];
    for &byte in text {
        counts[usize::from(byte)] += 1;
    }
    let length = count(text.len());
    let entropy: f64 = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = f64::from(count) / length;
            -share * share.log2()
        })
        .sum();
    entropy * surprises(text)
}

/// The length of what the text repeats, or of the whole.
fn period(text: &[u8]) -> usize {
    let repeats = |length: &usize| text.iter().skip(*length).eq(&text[..text.len() - length]);
    (1..text.len()).find(repeats).unwrap_or(text.len())
}

/// How many characters do not just go on as the last two did.
fn surprises(text: &[u8]) -> f64 {
    let goes_on = |three: &&[u8]| {
        let step = |a: u8, b: u8| i16::from(b) - i16::from(a);
        let (first, second) = (step(three[0], three[1]), step(three[1], three[2]));
        first == second && first.abs() <= 1
    };
    let foreseen = text.windows(3).filter(goes_on).count();
    count(text.len() - foreseen)
}

fn count(length: usize) -> f64 {
    f64::from(u32::try_from(length).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_texts_are_told_from_careless_ones() {
        for strong in [
            "pcls_4sKLcU0Wg0kPCEXTAhcyVv6ApwPsqfnUuCCkxWbPHRS1ocdnd",
            "8f14e45fceea167a5a36dedd4bea2543",
            "Zq3v0yHk1Xt7Rb9c",
        ] {
            assert!(bits(strong.as_bytes()) >= 56.0, "{strong}");
        }
        for weak in [
            "",
            "a",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "passwordpasswordpassword",
            "changeme",
            "1111222233334444",
            "admin:admin",
        ] {
            assert!(
                bits(weak.as_bytes()) < 56.0,
                "{weak}: {}",
                bits(weak.as_bytes())
            );
        }
    }
}
