//! Bodies that are `multipart/form-data` (RFC 7578).

use poem::http::HeaderMap;
use poem::http::header::CONTENT_TYPE;
use poem::web::Multipart;
use poem::{Body, FromRequest, Request, RequestBody};

use super::fields::{Fields, Value};
use crate::api::answer::Answer;

pub(super) async fn read(request: &Request, mut bytes: Vec<u8>) -> Result<Fields, Answer> {
    clean_part_headers(request.headers(), &mut bytes);
    let mut body = RequestBody::new(Body::from_vec(bytes));
    let mut parts =
        <Multipart as FromRequest>::from_request(request, &mut body).await.map_err(|_| Answer::ParseError)?;
    let mut fields = Fields::default();
    while let Some(part) = parts.next_field().await.map_err(|_| Answer::ParseError)? {
        let Some(name) = part.name().map(str::to_owned) else { continue };
        let is_file = part.file_name().is_some();
        let content = part.bytes().await.map_err(|_| Answer::ParseError)?;
        fields.set(&name, || match String::from_utf8(content) {
            Ok(text) if !is_file => Value::Text(text),
            _ => Value::Other,
        });
    }
    Ok(fields)
}

/// A browser writes the name of a field as it is, but for quotes and line ends (HTML, 4.10.21.8), and the parser takes no
/// control characters in the headers of a part. No name that anybody wants has one, so they may as well be others.
fn clean_part_headers(headers: &HeaderMap, body: &mut [u8]) {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parameters = content_type.split(';').filter_map(|parameter| parameter.split_once('='));
    let mut boundaries = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"));
    let Some((_, boundary)) = boundaries.next() else { return };
    let delimiter = format!("--{}\r\n", boundary.trim().trim_matches('"'));

    let mut in_headers = false;
    for line in body.split_inclusive_mut(|byte| *byte == b'\n') {
        in_headers = line == delimiter.as_bytes() || (in_headers && !line.trim_ascii().is_empty());
        if in_headers {
            let text = line.len().saturating_sub(b"\r\n".len());
            line[..text].iter_mut().filter(|byte| byte.is_ascii_control()).for_each(|byte| *byte = b'?');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_parts_are_cleaned_and_contents_are_not() {
        let sent = "--b\r\nName: a\u{1}\t\u{7f}\0b\r\n\r\n\u{1}--b\r\n\u{2}\r\n\r\n\0\r\n--b\r\n\u{3}\r\n\n\u{4}\r\n--b--\u{5}";
        let cleaned = "--b\r\nName: a????b\r\n\r\n\u{1}--b\r\n\u{2}\r\n\r\n\0\r\n--b\r\n?\r\n\n\u{4}\r\n--b--\u{5}";
        for (content_type, expected) in [
            ("multipart/form-data; boundary=b", cleaned),
            ("multipart/form-data; charset=utf-8; Boundary = \"b\"", cleaned),
            ("multipart/form-data; boundary=c", sent),
            ("multipart/form-data", sent),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            let mut body = sent.as_bytes().to_vec();
            clean_part_headers(&headers, &mut body);
            assert_eq!(String::from_utf8(body).unwrap(), expected, "{content_type}");
        }
    }
}
