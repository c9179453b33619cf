//! What a public key must be so that the provider verifies by it, and so that only its owner can sign. None of it
//! is secret, so it need not take the same time for each key.

use num_bigint::BigUint;

/// The least and the most bits of an RSA modulus by which the provider verifies.
const RSA_BITS: std::ops::RangeInclusive<u64> = 2048..=8192;

/// Why nothing is verified by an RSA key with this modulus and exponent, if so.
pub(super) fn why_not_rsa(modulus: &[u8], exponent: &[u8]) -> Option<String> {
    let bits = BigUint::from_bytes_be(modulus).bits();
    if !RSA_BITS.contains(&bits) {
        let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
        return Some(format!(
            "is RSA of {bits} bits, and from {least} to {most} are supported"
        ));
    }
    let exponent = BigUint::from_bytes_be(exponent);
    // RFC 8017 §3.1: odd, from 3. The provider takes none of more than 33 bits.
    if exponent < BigUint::from(3_u8) || !exponent.bit(0) || exponent.bits() > 33 {
        return Some("is RSA with an exponent that is not odd and from 3 to 2^33".to_owned());
    }
    None
}

/// Why the coordinates are of no P-256 key, if so (FIPS 186-5, SP 800-186 §3.2.1.3).
pub(super) fn why_not_p256(x: &[u8], y: &[u8]) -> Option<String> {
    if x.len() != 32 || y.len() != 32 {
        return Some("is of P-256, whose \"x\" and \"y\" have 32 octets".to_owned());
    }
    let prime = number("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
    let b = number("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b");
    let (x, y) = (BigUint::from_bytes_be(x), BigUint::from_bytes_be(y));
    // y² = x³ − 3x + b
    let left = &y * &y % &prime;
    let right = (&x * &x * &x + &b + (&prime * 3_u8 - &x % &prime * 3_u8)) % &prime;
    let is_on = x < prime && y < prime && left == right;
    (!is_on).then(|| "is no point of the curve P-256".to_owned())
}

/// Why the octets are of no Ed25519 key, if so (RFC 8032 §5.1.3).
pub(super) fn why_not_ed25519(x: &[u8]) -> Option<String> {
    let no_point = || Some("is no point of the curve Ed25519".to_owned());
    let Ok(mut octets) = <[u8; 32]>::try_from(x) else {
        return Some("is of Ed25519, whose \"x\" has 32 octets".to_owned());
    };
    // The sign of the other coordinate.
    octets[31] &= 0x7f;
    let y = BigUint::from_bytes_le(&octets);
    let one = BigUint::from(1_u8);
    let p = number("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed");
    let d = number("52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3");
    if y >= p {
        return no_point();
    }
    // By a point of small order signatures can be made without a private key.
    let of_order_8 = number("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826");
    let other = &p - &of_order_8;
    if [BigUint::ZERO, one.clone(), &p - &one, of_order_8, other].contains(&y) {
        return Some("is a point of small order of Ed25519, by which anybody can sign".to_owned());
    }
    // x² = (y² − 1) / (dy² + 1), which must be a square: by Euler's criterion.
    let square = &y * &y % &p;
    let above = (&square + &p - &one) % &p;
    let below = (&d * &square + &one) % &p;
    let inverse = below.modpow(&(&p - 2_u8), &p);
    let is_square = (above * inverse % &p).modpow(&((&p - &one) / 2_u8), &p) == one;
    if is_square { None } else { no_point() }
}

fn number(hexadecimal: &str) -> BigUint {
    // They are written above.
    BigUint::parse_bytes(hexadecimal.as_bytes(), 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hexadecimal: &str) -> Vec<u8> {
        let digits = hexadecimal.as_bytes().chunks(2);
        let octet = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
        digits.map(octet).collect()
    }

    #[test]
    fn the_base_points_are_on_their_curves_and_their_neighbours_are_not() {
        let x = octets("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296");
        let mut y = octets("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5");
        assert_eq!(why_not_p256(&x, &y), None);
        assert!(why_not_p256(&y, &x).is_some());
        y[31] ^= 1;
        assert!(why_not_p256(&x, &y).is_some());
        assert!(why_not_p256(&x, &y[1..]).is_some());
        assert!(why_not_p256(&[0; 32], &[0; 32]).is_some());
        assert!(why_not_p256(&[0xff; 32], &[0xff; 32]).is_some());
    }

    #[test]
    fn a_point_of_p256_is_written_in_one_way() {
        let prime = number("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
        let zero = [0; 32];
        // The points whose x is 0, and whose y is 5.
        let y = octets("66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4");
        let x = octets("d7325d7646cd60d80a92738ceb345f844cffaf35841022cab176f692de8de1d7");
        let mut five = zero;
        five[31] = 5;
        assert_eq!(why_not_p256(&zero, &y), None);
        assert_eq!(why_not_p256(&x, &five), None);
        // Of as many octets, and each with the prime added.
        assert!(why_not_p256(&prime.to_bytes_be(), &y).is_some());
        assert!(why_not_p256(&x, &(&prime + 5_u8).to_bytes_be()).is_some());
        // Without the zeros before it, or with one more.
        assert!(why_not_p256(&[], &y).is_some());
        assert!(why_not_p256(&[&[0], &zero[..]].concat(), &y).is_some());
        assert!(why_not_p256(&x, &five[1..]).is_some());
        assert!(why_not_p256(&x, &[&[0], &five[..]].concat()).is_some());
    }

    #[test]
    fn an_ed25519_key_is_a_point_of_large_order() {
        // RFC 8032 §7.1, TEST 1 and 2; the second with its other sign too.
        let first = octets("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let mut second = octets("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        assert_eq!(why_not_ed25519(&first), None);
        assert_eq!(why_not_ed25519(&second), None);
        second[31] ^= 0x80;
        assert_eq!(why_not_ed25519(&second), None);
        let of = |last: u8| {
            let mut octets = [0; 32];
            octets[0] = last;
            why_not_ed25519(&octets)
        };
        // y = 2 is of no point, 3 is; 0 and 1 are of small order.
        assert!(of(2).is_some_and(|why| why.contains("no point")));
        assert_eq!(of(3), None);
        assert!(of(0).is_some_and(|why| why.contains("small order")));
        assert!(of(1).is_some_and(|why| why.contains("small order")));
        let of_order_8 = octets("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
        assert!(why_not_ed25519(&of_order_8).is_some_and(|why| why.contains("small order")));
        let other = octets("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
        assert!(why_not_ed25519(&other).is_some_and(|why| why.contains("small order")));
        // The prime less one is of small order; the prime and one more are 0 and 1, written otherwise.
        let mut high = [0xff; 32];
        high[31] = 0x7f;
        for (last, why) in [
            (0xec, "small order"),
            (0xed, "no point"),
            (0xee, "no point"),
        ] {
            high[0] = last;
            let told = why_not_ed25519(&high);
            assert!(told.is_some_and(|told| told.contains(why)), "{last}");
        }
        // Not in its shortest form.
        assert!(why_not_ed25519(&[0xff; 32]).is_some());
        assert!(why_not_ed25519(&first[1..]).is_some());
    }

    #[test]
    fn an_rsa_key_has_a_size_and_an_exponent_that_are_supported() {
        let of = |bits: usize| {
            let mut modulus = vec![0xff; bits / 8];
            modulus[0] = 0x80;
            modulus
        };
        assert_eq!(why_not_rsa(&of(2048), &[1, 0, 1]), None);
        assert_eq!(why_not_rsa(&of(8192), &[3]), None);
        // 2^32 + 1 has 33 bits, and 2^33 + 1 one more.
        assert_eq!(why_not_rsa(&of(2048), &[1, 0, 0, 0, 1]), None);
        assert!(why_not_rsa(&of(2048), &[2, 0, 0, 0, 1]).is_some());
        assert!(why_not_rsa(&[&[0x7f], &of(2048)[1..]].concat(), &[3]).is_some());
        assert!(why_not_rsa(&[&[1], &of(8192)[..]].concat(), &[3]).is_some());
        assert!(why_not_rsa(&of(1024), &[1, 0, 1]).is_some());
        assert!(why_not_rsa(&of(16384), &[1, 0, 1]).is_some());
        assert!(why_not_rsa(&[&[0; 128], &of(1024)[..]].concat(), &[3]).is_some());
        for exponent in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[0xff; 8]] {
            assert!(why_not_rsa(&of(2048), exponent).is_some(), "{exponent:?}");
        }
    }
}
