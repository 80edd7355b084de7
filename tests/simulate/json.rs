//! Reads some fields of JSON and checks all of it, without building it in memory: a session has hundreds of messages.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A text or a whole number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Text(&'a str),
    Number(i64),
}

/// Calls `field` with the path of each text and whole number, such as `/json/id`. Items of an array have its path.
pub(crate) fn read(text: &str, field: &mut dyn FnMut(&str, Scalar<'_>)) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    Reader { path: &mut String::new(), field }.deserialize(&mut json)?;
    json.end()
}

struct Reader<'a> {
    path: &'a mut String,
    field: &'a mut dyn FnMut(&str, Scalar<'_>),
}

impl Reader<'_> {
    fn again(&mut self) -> Reader<'_> {
        Reader { path: self.path, field: self.field }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        (self.field)(self.path, Scalar::Text(text));
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        (self.field)(self.path, Scalar::Number(number));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        i64::try_from(number).map_or(Ok(()), |number| self.visit_i64(number))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.again())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        let length = self.path.len();
        while fields.next_key_seed(Name(self.path))?.is_some() {
            fields.next_value_seed(self.again())?;
            self.path.truncate(length);
        }
        Ok(())
    }
}

/// Adds the name of a field to the path.
struct Name<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        self.0.push('/');
        self.0.push_str(name);
        Ok(())
    }
}
