//! Valid bodies with damage: truncated after each byte, and changed at random.

use std::collections::BTreeMap;

use crate::ADDRESS_MODES;
use crate::generator::{BYTES, CANARY};
use crate::http::Operation::{Confirm, Request, Validate};
use crate::http::doubles::GOOD_PASSWORD;
use crate::http::{Encoding, HttpRequest, JSON, Operation, Reply, World};
use crate::random::Random;

const CASES: usize = 12_000;

const URLENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=between-the-fields";

fn good(operation: Operation, encoding: Encoding, token: &str) -> Vec<u8> {
    let fields: &[(&str, &str)] = match operation {
        Request => &[(CANARY, CANARY), ("email", "ann@example.com")],
        Validate => &[(CANARY, CANARY), ("token", token)],
        Confirm => &[(CANARY, CANARY), ("token", token), ("password", GOOD_PASSWORD)],
    };
    encoding.encode(fields)
}

/// Checks that a rejected body had no effect, and that any effect concerns Ann only.
struct Check {
    look_ups: usize,
    accepted: u64,
}

impl Check {
    fn before(world: &World) -> Self {
        Self { look_ups: world.calls.all(), accepted: world.reset.ledger().accepted }
    }

    async fn reply(self, world: &World, reply: &Reply, shown: &str) {
        assert!(matches!(reply.status, 200 | 400 | 404 | 413 | 415), "{}: {shown}", reply.status);
        assert!(!format!("{reply:?}").contains(CANARY), "the response repeats a value: {shown}");
        world.mails().await;
        // The password policy is checked after the token, which requires a look-up.
        let is_well_formed =
            matches!(reply.status, 200 | 404) || reply.body.starts_with(r#"{"password":["This password"#);
        let did_nothing = (world.calls.all(), world.reset.ledger().accepted) == (self.look_ups, self.accepted);
        assert!(did_nothing || is_well_formed, "{} {}: {shown}", reply.status, reply.body);
        for (id, password) in [("2", "bob's old password"), ("3", "carol's old password")] {
            assert!(world.has_password(id, password), "{shown}");
        }
        assert!(world.users.get("4").is_some_and(|dave| dave.password_hash().is_none()), "{shown}");
    }
}

/// Truncated JSON and multipart are malformed. A truncated urlencoded body is still well-formed, with a shorter value.
#[tokio::test]
async fn truncated_bodies_have_no_effect() {
    for mode in ADDRESS_MODES {
        check_truncated_bodies(World::in_process(mode).await).await;
    }
}

async fn check_truncated_bodies(world: World) {
    let ann = world.users.get("1").unwrap();
    for operation in Operation::ALL {
        for encoding in Encoding::ALL {
            let body = good(operation, encoding, &world.token("1"));
            // The line end after the last delimiter may be missing (RFC 2046, section 5.1.1).
            let whole = if encoding == Encoding::Multipart { body.len() - b"\r\n".len() } else { body.len() };
            for end in 0..whole {
                world.users.put(ann.clone());
                let check = Check::before(&world);
                let shown = format!("{operation:?} {encoding:?} truncated after {end}");
                let reply = world.send(&HttpRequest::post(operation).body(encoding.content_type(), &body[..end])).await;
                check.reply(&world, &reply, &shown).await;
                match encoding {
                    _ if end == 0 => assert_eq!(reply.status, 400),
                    Encoding::Json | Encoding::Multipart => reply.is_parse_error(),
                    Encoding::UrlEncoded => {
                        let sent = &body[..end];
                        let start = sent.windows(9).position(|text| text == b"password=").map(|start| start + 9);
                        let password =
                            start.map(|start| std::str::from_utf8(&sent[start..]).unwrap().replace('+', " "));
                        let expected = password.as_deref().filter(|_| reply.status == 200);
                        assert!(world.has_password("1", expected.unwrap_or("ann's old password")), "{shown}");
                    }
                }
            }
        }
    }
    assert_eq!(world.mails().await, [], "no truncated address gets mail");
}

fn damage(random: &mut Random, body: &mut Vec<u8>) {
    let (a, b) = (random.below(body.len() + 1), random.below(body.len() + 1));
    let range = a.min(b)..a.max(b);
    let short = range.start..range.end.min(range.start + 1 + random.below(4));
    match random.below(10) {
        0 | 1 => drop(body.splice(a..a, random.pick(BYTES).iter().copied())),
        2 | 3 => drop(body.splice(short, random.pick(BYTES).iter().copied())),
        4 => drop(body.drain(short)),
        5 => drop(body.drain(range)),
        6 => body.extend_from_within(range),
        7 => {
            let piece = body[range].to_vec();
            body.splice(a..a, piece);
        }
        8 if !body.is_empty() => {
            let index = random.below(body.len());
            body[index] ^= 1 << random.below(8);
        }
        8 => body.push(b'{'),
        _ => *body = in_another_charset(random, body),
    }
}

/// Returns the body in UTF-16, with a byte order mark, or repeated.
fn in_another_charset(random: &mut Random, body: &[u8]) -> Vec<u8> {
    match random.below(4) {
        0 => body.iter().flat_map(|byte| [*byte, 0]).collect(),
        1 => [0xfe, 0xff].into_iter().chain(body.iter().flat_map(|byte| [0, *byte])).collect(),
        2 => [b"\xef\xbb\xbf", body].concat(),
        _ => body.repeat(2 + random.below(60)),
    }
}

fn content_type(random: &mut Random, encoding: Encoding) -> String {
    let usual = [JSON, URLENCODED, MULTIPART];
    match random.below(12) {
        0 => random.pick(&usual).to_owned(),
        1 => "multipart/form-data".to_owned(),
        2 => format!(
            "multipart/form-data; boundary={}",
            random.pick(&["", "\"", "--", "between", "\"between-the-fields\"", "[", ";"])
        ),
        3 => format!("{}; charset=utf-16", encoding.content_type()),
        4 => encoding.content_type().to_uppercase(),
        5 => format!("{}; boundary={}", encoding.content_type(), "b".repeat(random.below(3_000))),
        6 => random
            .pick(&["application/problem+json", "text/json", "application/json,text/plain", "json", "*/*", ";", "/"])
            .to_owned(),
        _ => encoding.content_type().to_owned(),
    }
}

#[tokio::test]
async fn randomly_changed_bodies_get_documented_responses_only() {
    let mut random = Random::seeded();
    let [strict, lenient] = ADDRESS_MODES.map(World::in_process);
    let worlds = [strict.await, lenient.await];
    let ann = worlds[0].users.get("1").unwrap();
    let mut statuses = BTreeMap::<u16, usize>::new();
    for case in 0..CASES {
        let world = &worlds[case % 2];
        let operation = Operation::ALL[random.below(3)];
        let encoding = Encoding::ALL[random.below(3)];
        world.users.put(ann.clone());
        let mut body = good(operation, encoding, &world.token("1"));
        for _ in 0..1 + random.below(4) {
            damage(&mut random, &mut body);
        }
        let content_type = content_type(&mut random, encoding);
        let check = Check::before(world);
        let shown = format!("{operation:?} {content_type}: {:?}", String::from_utf8_lossy(&body));
        let request = HttpRequest::post(operation).body(&content_type, body);
        let reply = world.send(&if random.once_in(4) { request.chunked() } else { request }).await;
        check.reply(world, &reply, &shown).await;
        *statuses.entry(reply.status).or_default() += 1;
    }
    for world in &worlds {
        world.every_mail_is_anns().await;
    }
    for status in [200, 400, 404, 413, 415] {
        assert!(statuses.get(&status).is_some_and(|count| *count > 20), "{statuses:?}");
    }
}
