//! What tokens must withstand.
//!
//! The three tokens below were put together by hand and signed by `openssl dgst`, with the keys in
//! `tests/keys`; each says `{"sub":"ann","exp":1800000000,"rooms":["team-*"]}`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::EncodingKey;

use super::token_key::KeyError;
use super::{Algorithm, Claims, SigningKey, TokenError, TokenKey, TokenRules, Tokens};

const SECRET: &[u8] = b"an-independent-secret-of-41-bytes-for-HS2";
const RSA_PUBLIC: &[u8] = include_bytes!("../../tests/keys/rsa.pub");
const RSA_PRIVATE: &[u8] = include_bytes!("../../tests/keys/rsa.pem");
const EC_PUBLIC: &[u8] = include_bytes!("../../tests/keys/ec.pub");
const EC_PRIVATE: &[u8] = include_bytes!("../../tests/keys/ec.pem");
const EXP: u64 = 1_800_000_000;

/// With `kid` "hs".
const HS256: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImhzIn0.eyJzdWIiOiJhbm4iLCJleHAiOjE4MDAwMDAw\
    MDAsInJvb21zIjpbInRlYW0tKiJdfQ.PJD2viGhkk7dzpYPf6ZKjkGaCD50kTlWv_OL4lOJwTI";
/// With `kid` "rs".
const RS256: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InJzIn0.eyJzdWIiOiJhbm4iLCJleHAiOjE4MDAwMDAw\
    MDAsInJvb21zIjpbInRlYW0tKiJdfQ.YG0jLQApcs0nM0Hv_uwc63iUhFsvLjIkqFCjoNCer_U7jbnwjbKfSRNnl\
    CWe5VBDYZHBLirw0aNBW_wpREv2wCiTuXEqEv8CReLA-ioE4Oa90Kg0hWpXtILs6_EHYZM2zg4Tubkc_FdZpQX4O\
    1J6yFkPxfeGP-zZA5s5p7v4XWt3zai_wS-wXEdCvQodmVppUrpQWbCU31Adw7c5f_6r3UedU5JuZ6uUzu1QR7D5z\
    PZCS0MhQP3SY0yY1ew6OrsIjFgT874xEnsbRrxXXYsiokPqJmdWlJ2ZEHAa7VW6G6zAHyZqkL7OEOI8gDSEFLwuF\
    TmFq5QUp95O7DQwUOkV6Q";
/// Without `kid`.
const ES256: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE4MDAwMDAwMDAsInJvb21zIjp\
    bInRlYW0tKiJdfQ.XL996oZUjrxnyvTn5qP0aX8AoRxpP0me86l4EOkoC8lffCxvpiqZp7VeU1ff9lre5u6KDINz\
    0Q2Kaj7bkm2C9g";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn key(id: &str, algorithm: Algorithm, material: &[u8]) -> TokenKey {
    TokenKey::new(id, algorithm, material).unwrap()
}

fn hs(id: &str, secret: &[u8]) -> TokenKey {
    key(id, Algorithm::HS256, secret)
}

fn tokens_of(keys: Vec<TokenKey>) -> Tokens {
    Tokens::new(keys, TokenRules::default())
}

fn all_keys() -> Tokens {
    tokens_of(vec![
        hs("hs", SECRET),
        key("rs", Algorithm::RS256, RSA_PUBLIC),
        key("es", Algorithm::ES256, EC_PUBLIC),
    ])
}

/// Base64url without padding (RFC 7515 §2).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, at| {
            word << 8 | usize::from(chunk.get(at).copied().unwrap_or(0))
        });
        for at in 0..=chunk.len() {
            text.push(char::from(LETTERS[word >> (18 - 6 * at) & 63]));
        }
    }
    text
}

/// A token of this header and payload, signed as HS256 whatever the header says.
fn forge(header: &str, payload: &str, secret: &[u8]) -> String {
    let message = [base64(header.as_bytes()), base64(payload.as_bytes())].join(".");
    let key = EncodingKey::from_secret(secret);
    let algorithm = jsonwebtoken::Algorithm::HS256;
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
    [message, signature].join(".")
}

fn hs_token(payload: &str) -> String {
    forge(r#"{"alg":"HS256"}"#, payload, SECRET)
}

fn verify(token: &str) -> Result<Claims, TokenError> {
    all_keys().verify(token, at(EXP - 100))
}

fn error_of(token: &str) -> TokenError {
    verify(token).expect_err(token)
}

#[test]
fn tokens_signed_elsewhere_are_taken() {
    for token in [HS256, RS256, ES256] {
        let claims = verify(token).unwrap();
        assert_eq!(
            (claims.uid.as_str(), &*claims.rooms),
            ("ann", &["team-*".into()][..])
        );
        assert_eq!(claims.expires_at, at(EXP + 30));
    }
}

#[test]
fn what_is_signed_here_is_verified_here_and_carries_its_kid() {
    let claims = Claims {
        uid: "bob".into(),
        rooms: vec!["a".into(), "b-*".into()],
        expires_at: at(EXP),
    };
    for (id, algorithm, private) in [
        ("hs", Algorithm::HS256, SECRET),
        ("rs", Algorithm::RS256, RSA_PRIVATE),
        ("es", Algorithm::ES256, EC_PRIVATE),
    ] {
        let signing = SigningKey::new(id, algorithm, private).unwrap();
        let token = all_keys().sign(&signing, &claims, at(EXP - 60)).unwrap();
        let proved = verify(&token).unwrap();
        assert_eq!(
            (proved.uid, proved.rooms),
            (claims.uid.clone(), claims.rooms.clone())
        );
        assert_eq!(proved.expires_at, at(EXP + 30), "{algorithm}");
        let others = tokens_of(vec![hs("other", SECRET)]);
        assert_eq!(others.verify(&token, at(EXP)), Err(TokenError::UnknownKey));
    }
}

#[test]
fn a_token_ends_when_it_says_and_the_leeway_is_over() {
    let tokens = all_keys();
    assert!(tokens.verify(HS256, at(EXP + 29)).is_ok());
    let error = tokens.verify(HS256, at(EXP + 30)).unwrap_err();
    assert_eq!(error, TokenError::Expired);
}

#[test]
fn a_token_begins_when_it_says_less_the_leeway() {
    let token = hs_token(r#"{"sub":"ann","exp":1800000000,"nbf":1700000000}"#);
    let tokens = all_keys();
    let error = tokens.verify(&token, at(1_699_999_969)).unwrap_err();
    assert_eq!(error, TokenError::NotYetValid);
    assert!(tokens.verify(&token, at(1_699_999_970)).is_ok());
}

#[test]
fn a_public_key_is_no_secret() {
    let payload = r#"{"sub":"eve","exp":1800000000}"#;
    for kid in ["", r#","kid":"rs""#, r#","kid":"es""#] {
        for public in [RSA_PUBLIC, EC_PUBLIC] {
            let header = format!(r#"{{"alg":"HS256"{kid}}}"#);
            let token = forge(&header, payload, public);
            let only_public = tokens_of(vec![
                key("rs", Algorithm::RS256, RSA_PUBLIC),
                key("es", Algorithm::ES256, EC_PUBLIC),
            ]);
            assert_eq!(
                only_public.verify(&token, at(EXP)),
                Err(TokenError::UnknownKey)
            );
            assert!(verify(&token).is_err(), "{header}");
        }
    }
}

#[test]
fn an_algorithm_that_no_key_has_is_never_taken() {
    let payload = r#"{"sub":"eve","exp":1800000000}"#;
    for alg in ["none", "None", "NONE", "nOnE", "", "HS1"] {
        let header = format!(r#"{{"alg":"{alg}"}}"#);
        let signed = forge(&header, payload, SECRET);
        let (unsigned, _) = signed.rsplit_once('.').unwrap();
        for token in [signed.as_str(), &format!("{unsigned}."), unsigned] {
            assert_eq!(error_of(token), TokenError::Malformed, "{token}");
        }
    }
    for alg in ["HS384", "HS512", "PS256", "RS512", "ES384", "EdDSA"] {
        let token = forge(&format!(r#"{{"alg":"{alg}"}}"#), payload, SECRET);
        assert_eq!(error_of(&token), TokenError::UnknownKey, "{alg}");
    }
}

#[test]
fn kid_picks_the_key_and_a_wrong_one_finds_none() {
    let payload = r#"{"sub":"ann","exp":1800000000}"#;
    let with = |kid: &str| {
        forge(
            &format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#),
            payload,
            SECRET,
        )
    };
    assert!(verify(&with("hs")).is_ok());
    assert_eq!(error_of(&with("rs")), TokenError::UnknownKey);
    assert_eq!(error_of(&with("../hs")), TokenError::UnknownKey);
    assert_eq!(
        tokens_of(Vec::new()).verify(HS256, at(EXP)),
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn keys_are_changed_one_by_one() {
    let old: &[u8] = b"the-old-secret-of-at-least-32-bytes!";
    let payload = r#"{"sub":"ann","exp":1800000000}"#;
    let both = tokens_of(vec![hs("new", SECRET), hs("old", old)]);
    let by_old = forge(r#"{"alg":"HS256","kid":"old"}"#, payload, old);
    let by_old_unnamed = forge(r#"{"alg":"HS256"}"#, payload, old);
    let by_new = forge(r#"{"alg":"HS256","kid":"new"}"#, payload, SECRET);
    for token in [&by_old, &by_old_unnamed, &by_new] {
        assert!(both.verify(token, at(EXP)).is_ok(), "{token}");
    }
    let after = tokens_of(vec![hs("new", SECRET)]);
    assert_eq!(after.verify(&by_old, at(EXP)), Err(TokenError::UnknownKey));
    assert_eq!(
        after.verify(&by_old_unnamed, at(EXP)),
        Err(TokenError::Signature)
    );
    assert!(after.verify(&by_new, at(EXP)).is_ok());
}

#[test]
fn no_changed_character_goes_unseen() {
    for token in [HS256, ES256] {
        for at in 0..token.len() {
            let mut changed = token.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(verify(&changed).is_err(), "changed at {at}: {changed}");
        }
    }
    let (head, _) = HS256.rsplit_once('.').unwrap();
    assert_eq!(error_of(&format!("{head}.")), TokenError::Signature);
}

#[test]
fn what_is_no_token_is_refused() {
    for token in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "é.é.é",
        "\0.\0.\0",
        &format!("{HS256}.x"),
    ] {
        assert_eq!(error_of(token), TokenError::Malformed, "{token:?}");
    }
    let deep = "[".repeat(3_000);
    let header = format!(r#"{{"alg":"HS256","x":{deep}}}"#);
    assert_eq!(
        error_of(&forge(&header, "{}", SECRET)),
        TokenError::Malformed
    );
    let payload = format!(r#"{{"sub":"ann","exp":1800000000,"x":{deep}}}"#);
    assert_eq!(error_of(&hs_token(&payload)), TokenError::Claims);
}

#[test]
fn a_huge_token_is_refused_before_it_is_read() {
    let huge = format!("{HS256}{}", "A".repeat(10 << 20));
    assert_eq!(error_of(&huge), TokenError::TooLong(8_192));
}

#[test]
fn critical_extensions_are_refused() {
    let header = r#"{"alg":"HS256","crit":["b64"],"b64":false}"#;
    let token = forge(header, r#"{"sub":"ann","exp":1800000000}"#, SECRET);
    assert_eq!(error_of(&token), TokenError::Critical);
}

#[test]
fn claims_have_to_be_there_and_of_their_types() {
    for payload in [
        r"{}",
        r"[]",
        r#"{"sub":"ann"}"#,
        r#"{"exp":1800000000}"#,
        r#"{"sub":null,"exp":1800000000}"#,
        r#"{"sub":1.5,"exp":1800000000}"#,
        r#"{"sub":-5,"exp":1800000000}"#,
        r#"{"sub":["ann"],"exp":1800000000}"#,
        r#"{"sub":"ann","exp":"1800000000"}"#,
        r#"{"sub":"ann","exp":null}"#,
        r#"{"sub":"ann","exp":-1}"#,
        r#"{"sub":"ann","sub":"bob","exp":1800000000}"#,
        r#"{"sub":"ann","exp":1800000000,"nbf":"1"}"#,
        r#"{"sub":"ann","exp":1800000000,"rooms":"team-*"}"#,
        r#"{"sub":"ann","exp":1800000000,"rooms":[1]}"#,
    ] {
        assert_eq!(
            error_of(&hs_token(payload)),
            TokenError::Claims,
            "{payload}"
        );
    }
}

#[test]
fn a_number_is_a_user_by_its_digits_and_times_may_have_fractions() {
    let token = hs_token(r#"{"sub":18446744073709551615,"exp":1800000000.5}"#);
    let claims = verify(&token).unwrap();
    assert_eq!(claims.uid, "18446744073709551615");
    assert!(claims.rooms.is_empty());
    assert_eq!(claims.expires_at, at(EXP + 30) + Duration::from_millis(500));
    let forever = hs_token(r#"{"sub":"ann","exp":1e300}"#);
    assert!(verify(&forever).is_ok());
}

#[test]
fn audience_and_issuer_are_asked_for_where_they_are_set() {
    let tokens = Tokens::new(
        vec![hs("hs", SECRET)],
        TokenRules {
            audience: vec!["chat".into()],
            issuer: vec!["shop".into()],
            ..TokenRules::default()
        },
    );
    let with = |rest: &str| {
        let token = hs_token(&format!(r#"{{"sub":"ann","exp":1800000000{rest}}}"#));
        tokens.verify(&token, at(EXP)).map(|claims| claims.uid)
    };
    assert_eq!(with(r#","aud":"chat","iss":"shop""#), Ok("ann".into()));
    assert_eq!(
        with(r#","aud":["mail","chat"],"iss":"shop""#),
        Ok("ann".into())
    );
    assert_eq!(
        with(r#","aud":"mail","iss":"shop""#),
        Err(TokenError::Audience)
    );
    assert_eq!(
        with(r#","aud":"chat","iss":"eve""#),
        Err(TokenError::Issuer)
    );
    assert_eq!(with(r#","aud":"chat""#), Err(TokenError::Issuer));
    assert_eq!(with(r#","iss":"shop""#), Err(TokenError::Audience));
    let elsewhere = hs_token(r#"{"sub":"ann","exp":1800000000,"aud":"mail"}"#);
    assert_eq!(
        error_of(&elsewhere),
        TokenError::Audience,
        "meant for somebody else"
    );
}

#[test]
fn an_audience_of_a_wrong_type_is_refused_even_where_none_is_asked_for() {
    for aud in ["5", "true", "{}", r#"["chat",5]"#] {
        let token = hs_token(&format!(r#"{{"sub":"ann","exp":1800000000,"aud":{aud}}}"#));
        assert!(verify(&token).is_err(), "{aud}");
    }
}

#[test]
fn a_key_that_is_too_weak_or_of_another_kind_is_no_key() {
    let refused = |algorithm, material: &[u8]| {
        TokenKey::new("k", algorithm, material).expect_err(&String::from_utf8_lossy(material))
    };
    assert_eq!(
        refused(Algorithm::HS256, &SECRET[..31]),
        KeyError::ShortSecret(31)
    );
    let rsa_1024 = include_bytes!("../../tests/keys/rsa1024.pub");
    let ec_384 = include_bytes!("../../tests/keys/ec384.pub");
    for material in [EC_PUBLIC, RSA_PRIVATE, rsa_1024, ec_384, b"", b"text"] {
        let error = refused(Algorithm::RS256, material);
        assert_eq!(error, KeyError::NoPublicKey(Algorithm::RS256));
    }
    for material in [RSA_PUBLIC, EC_PRIVATE, rsa_1024, ec_384, b"", b"text"] {
        let error = refused(Algorithm::ES256, material);
        assert_eq!(error, KeyError::NoPublicKey(Algorithm::ES256));
    }
}

#[test]
fn debug_shows_ids_and_algorithms_only() {
    let shown = format!("{:?}", all_keys());
    assert!(shown.contains(r#"TokenKey("hs", HS256)"#), "{shown}");
    assert!(
        !shown.contains("independent") && !shown.contains("[97"),
        "{shown}"
    );
    let signing = SigningKey::new("hs", Algorithm::HS256, SECRET).unwrap();
    assert_eq!(format!("{signing:?}"), r#"SigningKey("hs", HS256)"#);
}
