//! A section: settings that belong together, each with its documentation, default and bounds.
//!
//! `section!` makes of one list the struct, its defaults, what reads and checks a file, and what
//! `tidings init` writes: nothing can be in one and not in the others.

use toml::de::DeValue;

use super::value::{Value, describe, shown};

/// Settings that belong together.
pub(super) trait Section {
    /// What the section is about, a line each.
    fn about(&self) -> &'static [&'static str];
    /// Shows every setting to `visit`, in the order of the documentation.
    fn each(&mut self, visit: &mut dyn FnMut(Field<'_>));
}

/// One setting.
pub(super) struct Field<'a> {
    pub(super) key: &'static str,
    /// What it means, a line each.
    pub(super) docs: &'static [&'static str],
    pub(super) slot: &'a mut dyn Slot,
}

/// The value of a setting, whatever its kind.
pub(super) trait Slot {
    /// Takes what a file says; otherwise says what is wrong.
    fn read_toml(&mut self, value: &DeValue<'_>) -> Result<(), String>;
    /// Takes what the environment or a flag says; otherwise says what is wrong.
    fn read_text(&mut self, text: &str) -> Result<(), String>;
    fn to_toml(&self) -> String;
    /// The bounds, where they are worth a line in the documentation.
    fn range(&self) -> Option<String>;
}

/// A value with its bounds.
pub(super) struct Bounded<'a, V: Value> {
    pub(super) value: &'a mut V,
    pub(super) bounds: V::Bounds,
}

impl<V: Value> Slot for Bounded<'_, V> {
    fn read_toml(&mut self, value: &DeValue<'_>) -> Result<(), String> {
        let read = V::from_toml(value, &self.bounds);
        self.take(read, || describe(value, V::is_public()))
    }

    fn read_text(&mut self, text: &str) -> Result<(), String> {
        let read = V::from_text(text, &self.bounds);
        self.take(read, || match V::is_public() {
            true => shown(text),
            false => "something else".into(),
        })
    }

    fn to_toml(&self) -> String {
        self.value.to_toml()
    }

    fn range(&self) -> Option<String> {
        V::range(&self.bounds)
    }
}

impl<V: Value> Bounded<'_, V> {
    fn take(&mut self, read: Option<V>, given: impl Fn() -> String) -> Result<(), String> {
        *self.value = read
            .ok_or_else(|| format!("is {}, but has to be {}", given(), V::allowed(&self.bounds)))?;
        Ok(())
    }
}

/// Makes a struct of settings; see the module.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $kind:ty = $default:expr $(, within $bounds:expr)?;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")]
                pub $key: $kind,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl $crate::config::section::Section for $name {
            fn about(&self) -> &'static [&'static str] {
                &[$($about),+]
            }

            fn each(&mut self, visit: &mut dyn FnMut($crate::config::section::Field<'_>)) {
                $(visit($crate::config::section::Field {
                    key: stringify!($key),
                    docs: &[$($doc),+],
                    slot: &mut $crate::config::section::Bounded {
                        value: &mut self.$key,
                        bounds: $crate::config::section::section!(@bounds $($bounds)?),
                    },
                });)+
            }
        }
    };
    (@bounds) => { () };
    (@bounds $bounds:expr) => { $bounds };
}
pub(super) use section;
