//! Decoding of a file into a model, and the full check, which lookups do without.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use foldhash::{HashMap, HashMapExt};

use crate::entry::Entry;
use crate::error::{FormatError, ModelError};
use crate::input::InputRef;
use crate::kind::{Accelerator, FactKind};
use crate::layout::{FACT_SECTIONS, FactRecord, MAX_DEPTH, tag};
use crate::model::{Fact, FactKey, Model};
use crate::pool::{Handle, Pool};
use crate::value::Value;

impl<B: AsRef<[u8]>> Entry<B> {
    /// Checks everything: the content's digest, every record, every value reachable from a fact.
    ///
    /// # Errors
    /// [`FormatError::WrongDigest`], [`FormatError::DamagedRecord`].
    pub fn verify(&self) -> Result<(), FormatError> {
        self.sections().check_digest(self.bytes())?;
        self.verify_strings()?;
        for (.., tag) in FACT_SECTIONS {
            self.verify_records(tag)?;
        }
        self.verify_inputs()?;
        if !self.section(self.sections().find(tag::FAILURE)).is_empty() && self.failure().is_none()
        {
            return Err(damaged(tag::FAILURE, "failure", 0));
        }
        if self.report().is_none() {
            return Err(damaged(tag::REPORT, "report", 0));
        }
        self.to_model().map(drop)
    }

    /// Decodes the whole entry into a model, to be changed and encoded again.
    ///
    /// Facts and inputs of a kind unknown to this version are left out.
    ///
    /// # Errors
    /// [`FormatError::DamagedRecord`] if a fact cannot be read as a whole.
    pub fn to_model(&self) -> Result<Model, FormatError> {
        let mut model = Model::default();
        let mut decoder = Decoder {
            pool: &mut model.pool,
            containers: HashMap::new(),
            strings: HashMap::new(),
            // Elements take a word each, or a byte if they are packed: only overlapping containers,
            // which the encoder never writes, hold more.
            elements_left: self.facts().store().words.len().saturating_mul(4),
        };
        let mut facts = Vec::new();
        for (group, scope, tag) in FACT_SECTIONS {
            for (at, record) in (0..).zip(self.facts().records(tag)) {
                if FactKind::from_number(record.kind.get()).is_none()
                    || Accelerator::from_number(record.accelerator).is_none()
                {
                    continue;
                }
                let (kind, accelerator, fact) =
                    self.facts().read(record).ok_or_else(|| damaged(tag, "state of a fact", at))?;
                if accelerator.scope() != scope {
                    return Err(damaged(tag, "accelerator of a fact", at));
                }
                let fact = match fact {
                    Fact::Answered(value) => Fact::Answered(decoder.value(value, 0)?),
                    Fact::Refused => Fact::Refused,
                    Fact::Quarantined => Fact::Quarantined,
                };
                facts.push((FactKey { group, accelerator, kind }, fact));
            }
        }
        for (key, fact) in facts {
            model.set(key, fact);
        }
        model.report = self.report().unwrap_or_default();
        model.failure = self.failure();
        model.inputs = self.inputs().map(InputRef::to_owned).collect();
        Ok(model)
    }

    /// Checks that strings are UTF-8 and strictly increasing.
    fn verify_strings(&self) -> Result<(), FormatError> {
        let store = self.facts().store();
        let mut before: Option<&str> = None;
        for number in 0..store.string_count() {
            let text = store
                .string(number)
                .ok_or_else(|| damaged(tag::STRINGS, "string", number.into()))?;
            if before.is_some_and(|before| before >= text) {
                return Err(damaged(tag::STRINGS, "order of strings", number.into()));
            }
            before = Some(text);
        }
        Ok(())
    }

    /// Checks that records are whole and strictly increasing by accelerator, then kind.
    fn verify_records(&self, tag: [u8; 4]) -> Result<(), FormatError> {
        let length = self.section(self.sections().find(tag)).len();
        if length.checked_rem(size_of::<FactRecord>()) != Some(0) {
            return Err(damaged(tag, "length", 0));
        }
        let mut before = None;
        for (at, record) in (0..).zip(self.facts().records(tag)) {
            let key = Some((record.accelerator, record.kind.get()));
            if before >= key {
                return Err(damaged(tag, "order of facts", at));
            }
            before = key;
        }
        Ok(())
    }

    /// Checks that every announced input is present, and of a kind known to this version.
    fn verify_inputs(&self) -> Result<(), FormatError> {
        let readable = self.inputs().filter(|input| input.is_known()).count();
        if u32::try_from(readable) != Ok(self.input_count()) {
            return Err(damaged(tag::INPUTS, "input", u64::try_from(readable).unwrap_or(u64::MAX)));
        }
        Ok(())
    }
}

struct Decoder<'m> {
    pool: &'m mut Pool,
    /// The decoded container by its offset, so that a damaged file cannot have one decoded twice.
    containers: HashMap<u32, Handle>,
    /// The number in the pool by the number in the file, so that a long string is read once.
    strings: HashMap<u32, u32>,
    elements_left: usize,
}

impl Decoder<'_> {
    fn value(&mut self, value: Value<'_>, depth: u32) -> Result<Handle, FormatError> {
        let at = value.container_at();
        if let Some(known) = at.and_then(|at| self.containers.get(&at)) {
            return Ok(*known);
        }
        let broken = |what| damaged(tag::POOL, what, u64::from(at.unwrap_or_default()));
        // The pool refuses values that nest too deep; this bounds the stack before that check.
        if depth > MAX_DEPTH {
            return Err(broken("depth of a value"));
        }
        let deeper = depth.saturating_add(1);
        let handle = if let Some(array) = value.as_array() {
            self.spend(array.len()).ok_or_else(|| broken("extent of an array"))?;
            let mut handles = Vec::new();
            for element in array.iter() {
                handles.push(self.value(element, deeper)?);
            }
            if handles.len() != array.len() || !array.is_sorted() {
                return Err(broken("array"));
            }
            self.pool.array(handles)
        } else if let Some(object) = value.as_object() {
            self.spend(object.len()).ok_or_else(|| broken("extent of an object"))?;
            let (mut keys, mut handles) = (Vec::new(), Vec::new());
            for (key, element) in object.numbered() {
                keys.push(self.string(value, key)?);
                handles.push(self.value(element, deeper)?);
            }
            if handles.len() != object.len() {
                return Err(broken("object"));
            }
            if !object.is_sorted() {
                return Err(broken("order of keys"));
            }
            self.pool.intern_object(keys, handles)
        } else if value.is_null() {
            Ok(Handle::NULL)
        } else if let Some(value) = value.as_bool() {
            Ok(Handle::bool(value))
        } else if let Some(number) = value.string_number() {
            return self.string(value, number).and_then(|number| {
                Pool::string_handle(number).map_err(|_| broken("number of values"))
            });
        } else if let Some(value) = value.as_u64() {
            self.pool.unsigned(value)
        } else if let Some(value) = value.as_i64() {
            self.pool.signed(value)
        } else if let Some(value) = value.as_f64() {
            self.pool.double(value)
        } else {
            return Err(broken("value"));
        };
        let handle = handle.map_err(|error| match error {
            ModelError::TooDeep { .. } => broken("depth of a value"),
            ModelError::TooManyValues { .. } => broken("number of values"),
        })?;
        if let Some(at) = at {
            self.containers.insert(at, handle);
        }
        Ok(handle)
    }

    /// Returns the number in the pool of a string or key that has `number` in the file of `value`.
    fn string(&mut self, value: Value<'_>, number: u32) -> Result<u32, FormatError> {
        if let Some(known) = self.strings.get(&number) {
            return Ok(*known);
        }
        let broken = |what| damaged(tag::STRINGS, what, u64::from(number));
        let text = value.text_of(number).ok_or_else(|| broken("string"))?;
        let known = self.pool.string_number(text).map_err(|_| broken("number of strings"))?;
        self.strings.insert(number, known);
        Ok(known)
    }

    fn spend(&mut self, elements: usize) -> Option<()> {
        self.elements_left = self.elements_left.checked_sub(elements)?;
        Some(())
    }
}

fn damaged(section: [u8; 4], what: &'static str, at: u64) -> FormatError {
    FormatError::DamagedRecord { section, what, at }
}
