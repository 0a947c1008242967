//! Checks responses against the OpenAPI document. Supports the keywords of JSON Schema that the document uses.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Reply;

pub struct Document {
    pub text: String,
    json: Value,
}

impl Document {
    pub fn read(text: String) -> Self {
        Self { json: serde_json::from_str(&text).unwrap(), text }
    }

    /// Returns the `post` object of each path.
    pub fn operations(&self) -> BTreeMap<&str, &Value> {
        let paths = self.json["paths"].as_object().expect("paths");
        paths.iter().map(|(path, methods)| (path.as_str(), &methods["post"])).collect()
    }

    /// Returns the documented statuses of an operation.
    pub fn statuses(&self, path: &str) -> Vec<u16> {
        let responses = self.operations()[path]["responses"].as_object().expect("responses");
        let mut statuses: Vec<u16> = responses.keys().map(|status| status.parse().expect("a status")).collect();
        statuses.sort_unstable();
        statuses
    }

    /// Checks the status, headers, media type and body of a response against the document.
    pub fn check(&self, path: &str, reply: &Reply) {
        let documented = &self.operations()[path]["responses"][reply.status.to_string()];
        assert!(documented.is_object(), "POST {path} does not document {}: {}", reply.status, reply.body);

        let none = Map::new();
        let headers = documented["headers"].as_object().unwrap_or(&none);
        for (name, header) in headers {
            let values = reply.header(&name.to_ascii_lowercase());
            let [value] = values[..] else { panic!("POST {path} {}: {name}: {values:?}", reply.status) };
            let value = value.parse().unwrap_or_else(|_| Value::from(value));
            assert_eq!(self.fault(&header["schema"], &value), None, "POST {path} {}: {name}", reply.status);
        }
        assert_eq!(headers.contains_key("Retry-After"), !reply.header("retry-after").is_empty(), "{path} {reply:?}");

        let content = documented["content"].as_object().expect("content");
        assert_eq!(content.keys().collect::<Vec<_>>(), reply.header("content-type"), "POST {path} {}", reply.status);
        for media_type in content.values() {
            assert_eq!(
                self.fault(&media_type["schema"], &reply.json()),
                None,
                "POST {path} {}: {}",
                reply.status,
                reply.body
            );
        }
    }

    /// Returns why `value` does not match `schema`. Stricter than JSON Schema: a member without a description does not
    /// match, and an unknown keyword panics.
    pub fn fault(&self, schema: &Value, value: &Value) -> Option<String> {
        let schema = self.resolve(schema).as_object().expect("a schema is an object");
        schema.iter().find_map(|(keyword, rule)| self.keyword_fault(schema, keyword, rule, value))
    }

    /// Follows a `$ref`.
    pub fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        match schema["$ref"].as_str() {
            Some(name) => &self.json["components"]["schemas"][name.trim_start_matches("#/components/schemas/")],
            None => schema,
        }
    }

    fn keyword_fault(&self, schema: &Map<String, Value>, keyword: &str, rule: &Value, value: &Value) -> Option<String> {
        let list = || rule.as_array().expect("a list").iter();
        let unless = |good: bool| (!good).then(|| format!("{keyword} {rule}: {value}"));
        match keyword {
            // `format` and `pattern` are not checked.
            "title" | "description" | "example" | "format" | "pattern" => None,
            "type" => unless(match rule.as_str().expect("a type") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("unsupported type: {other}"),
            }),
            "enum" => unless(list().any(|item| item == value)),
            "minimum" => unless(value.as_f64() >= rule.as_f64()),
            "maxLength" => unless(value.as_str().map(|text| text.chars().count() as u64) <= rule.as_u64()),
            "minLength" => unless(value.as_str().map(|text| text.chars().count() as u64) >= rule.as_u64()),
            "required" => unless(list().all(|name| value.get(name.as_str().expect("a name")).is_some())),
            "properties" => value.as_object()?.iter().find_map(|(name, member)| match rule.get(name) {
                Some(schema) => self.fault(schema, member),
                None => Some(format!("{name} is not documented")),
            }),
            "items" => value.as_array()?.iter().find_map(|item| self.fault(rule, item)),
            "anyOf" => unless(list().any(|schema| self.fault(schema, value).is_none())),
            "allOf" => list().find_map(|schema| self.fault(schema, value)),
            other => panic!("unsupported keyword: {other} in {schema:?}"),
        }
    }
}
