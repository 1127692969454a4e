//! A section: settings that belong together, each with its documentation, default and bounds.
//!
//! From one list `section!` makes the struct, its defaults, what reads and checks a file, what a reload
//! may change, and what `tidings init` writes: so no setting can be missing in one of them.

use toml::de::DeValue;

use super::quote::shown;
use super::value::SettingValue;

/// Settings that belong together, such as those of one table of the file.
pub(super) trait Section {
    /// Returns the documentation of the section, line by line.
    fn about(&self) -> &'static [&'static str];
    /// Shows every setting to `visit`, in the order of the documentation.
    fn each(&mut self, visit: &mut dyn FnMut(SettingField<'_>));
}

/// One setting of a section.
pub(super) struct SettingField<'a> {
    pub(super) key: &'static str,
    /// The documentation of the setting, line by line.
    pub(super) docs: &'static [&'static str],
    pub(super) by: InForceBy,
    pub(super) slot: &'a mut dyn SettingSlot,
}

/// What puts a changed setting into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InForceBy {
    /// A reload: nothing stops, and nobody is disconnected.
    Reload,
    /// A new image of the program, which takes the connections over.
    Upgrade,
    /// A new start.
    Restart,
}

/// The place of a setting's value, whatever kind of value that is.
pub(super) trait SettingSlot {
    /// Sets the value from a file, or returns a complaint that begins with "is".
    fn read_toml(&mut self, value: &DeValue<'_>) -> Result<(), String>;
    /// Sets the value from the environment or a flag, or returns a complaint that begins with "is".
    fn read_text(&mut self, text: &str) -> Result<(), String>;
    /// Writes the value as a settings file spells it.
    fn to_toml(&self) -> String;
    /// Whether the value may be shown.
    fn is_public(&self) -> bool;
    /// Describes the bounds in words, where they are worth a line in the documentation.
    fn range(&self) -> Option<String>;
}

/// A value together with its bounds.
pub(super) struct Bounded<'a, V: SettingValue> {
    pub(super) value: &'a mut V,
    pub(super) bounds: V::Bounds,
}

impl<V: SettingValue> SettingSlot for Bounded<'_, V> {
    fn read_toml(&mut self, value: &DeValue<'_>) -> Result<(), String> {
        let read = V::from_toml(value, &self.bounds);
        let given = |bounds: &V::Bounds| V::describe_wrong(value, bounds);
        self.take(read, given)
    }

    fn read_text(&mut self, text: &str) -> Result<(), String> {
        let read = V::from_text(text, &self.bounds);
        self.take(read, |_| match V::is_public() {
            true => shown(text),
            false => "something else".into(),
        })
    }

    fn to_toml(&self) -> String {
        self.value.to_toml()
    }

    fn is_public(&self) -> bool {
        V::is_public()
    }

    fn range(&self) -> Option<String> {
        V::range(&self.bounds)
    }
}

impl<V: SettingValue> Bounded<'_, V> {
    fn take(
        &mut self,
        read: Option<V>,
        given: impl Fn(&V::Bounds) -> String,
    ) -> Result<(), String> {
        let bounds = &self.bounds;
        *self.value = read
            .ok_or_else(|| format!("is {}, but has to be {}", given(bounds), V::allowed(bounds)))?;
        Ok(())
    }
}

/// Defines a section: a struct of settings, its defaults, and its [`Section`].
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $kind:ty = $default:expr $(, within $bounds:expr)?, by $by:ident;
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

            fn each(&mut self, visit: &mut dyn FnMut($crate::config::section::SettingField<'_>)) {
                $(visit($crate::config::section::SettingField {
                    key: stringify!($key),
                    docs: &[$($doc),+],
                    by: $crate::config::section::section!(@by $by),
                    slot: &mut $crate::config::section::Bounded {
                        value: &mut self.$key,
                        bounds: $crate::config::section::section!(@bounds $($bounds)?),
                    },
                });)+
            }
        }
    };
    (@by reload) => { $crate::config::section::InForceBy::Reload };
    (@by upgrade) => { $crate::config::section::InForceBy::Upgrade };
    (@by restart) => { $crate::config::section::InForceBy::Restart };
    (@bounds) => { () };
    (@bounds $bounds:expr) => { $bounds };
}
pub(super) use section;
