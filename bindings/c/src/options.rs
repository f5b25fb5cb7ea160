//! Options of a cache.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use capscache::CacheBuilder;

use crate::boundary::{call, free};
use crate::error::Error;
use crate::text::Text;

/// Options with which capscache_open_with() opens a cache. Owned by the caller, who frees it with
/// capscache_options_free(), also after the cache was opened.
///
/// Not for several threads at the same time. A setter that gets an invalid argument, or that the library was built
/// without, has no effect; capscache_open_with() reports the first one.
#[derive(Debug)]
pub struct Options {
    builder: CacheBuilder,
    refused: Option<Error>,
    #[cfg(feature = "probe")]
    limits: capscache::probe::Limits,
    #[cfg(feature = "probe")]
    user: Option<capscache::probe::User>,
}

impl Options {
    /// Opens a cache with these options.
    pub(crate) fn open(&self) -> Result<capscache::Cache, Error> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        let builder = self.builder.clone();
        #[cfg(feature = "probe")]
        let builder = {
            let builder = builder.limits(self.limits.clone());
            match &self.user {
                Some(user) => builder.run_as(user.clone()),
                None => builder,
            }
        };
        Ok(builder.open()?)
    }

    fn change(
        options: Option<&mut Options>,
        setter: &str,
        change: impl FnOnce(&mut Options) -> Result<(), Error>,
    ) {
        // An error of a panic has no other place to be reported.
        call(None, || {
            if let Some(options) = options
                && let Err(error) = change(options)
            {
                options.refused.get_or_insert_with(|| error.in_call(setter));
            }
            Ok(())
        });
    }
}

/// Returns options for the cache in a directory, which the first write creates; CAPSCACHE_SYSTEM_ROOT is that of the
/// whole system. NULL after an error.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_options_new(
    root: Text<'_>,
    error: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Option<Box<Options>> {
    call(error, || {
        Ok(Some(Box::new(Options {
            builder: capscache::Cache::builder(root.path("root")?),
            refused: None,
            #[cfg(feature = "probe")]
            limits: capscache::probe::Limits::default(),
            #[cfg(feature = "probe")]
            user: None,
        })))
    })
}

/// Adds the root of another cache, such as that of the system: its valid entries are used where the root has none.
/// Fallbacks are searched in this order and never written; one that is absent is skipped. Of one that belongs to another
/// user, that user is to be trusted: capscache_options_set_trusted_owner().
#[unsafe(no_mangle)]
pub extern "C" fn capscache_options_add_fallback(options: Option<&mut Options>, root: Text<'_>) {
    Options::change(options, "capscache_options_add_fallback", |options| {
        let builder = options.builder.clone().fallback(root.path("root")?);
        options.builder = builder;
        Ok(())
    });
}

/// Trusts the files of a user beside those of root and of the user of this process, such as the owner of
/// CAPSCACHE_SYSTEM_ROOT.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_options_set_trusted_owner(options: Option<&mut Options>, uid: u32) {
    Options::change(options, "capscache_options_set_trusted_owner", |options| {
        options.builder = options.builder.clone().trusted_owner(uid);
        Ok(())
    });
}

/// Sets the seconds after which an emulator that could not be probed is probed again, if nothing changes before: 60 by
/// default.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_options_set_failure_ttl(options: Option<&mut Options>, seconds: u32) {
    Options::change(options, "capscache_options_set_failure_ttl", |options| {
        let ttl = Duration::from_secs(seconds.into());
        options.builder = options.builder.clone().failure_ttl(ttl);
        Ok(())
    });
}

/// Adds a variable to the environment of emulators. Answers of emulators with other variables are not used.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_options_add_variable(
    options: Option<&mut Options>,
    name: Text<'_>,
    value: Text<'_>,
) {
    Options::change(options, "capscache_options_add_variable", |options| {
        let name = name.bytes("name")?;
        if name.is_empty() || name.contains(&b'=') {
            return Err(Error::invalid("name is empty or has a `=`"));
        }
        let own = |bytes| OsStr::from_bytes(bytes).to_owned();
        let variable = (own(name), own(value.bytes("value")?));
        options.builder = options.builder.clone().environment([variable]);
        Ok(())
    });
}

/// Adds a directory that emulators may write to beside their temporary directory: one in which a wrapper keeps a log,
/// for example.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_options_add_writable(
    options: Option<&mut Options>,
    directory: Text<'_>,
) {
    Options::change(options, "capscache_options_add_writable", |options| {
        options.add_writable(directory.path("directory")?.to_owned())
    });
}

/// Sets the milliseconds that one process of a probe may take (10 000 by default) and those of the whole probe (60 000).
#[unsafe(no_mangle)]
pub extern "C" fn capscache_options_set_timeouts(
    options: Option<&mut Options>,
    start_ms: u32,
    probe_ms: u32,
) {
    Options::change(options, "capscache_options_set_timeouts", |options| {
        options.set_timeouts(
            Duration::from_millis(start_ms.into()),
            Duration::from_millis(probe_ms.into()),
        )
    });
}

/// Runs emulators as another user, which requires root. KVM is examined with the rights of that user.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_options_set_user(options: Option<&mut Options>, uid: u32, gid: u32) {
    Options::change(options, "capscache_options_set_user", |options| options.set_user(uid, gid));
}

/// Adds a group to the user of capscache_options_set_user(), such as the one that may open `/dev/kvm`.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_options_add_user_group(options: Option<&mut Options>, gid: u32) {
    Options::change(options, "capscache_options_add_user_group", |options| options.add_group(gid));
}

/// Frees options; does nothing for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn capscache_options_free(options: Option<Box<Options>>) {
    free(options);
}

#[cfg(feature = "probe")]
impl Options {
    fn add_writable(&mut self, directory: PathBuf) -> Result<(), Error> {
        self.builder = self.builder.clone().writable([directory]);
        Ok(())
    }

    fn set_timeouts(&mut self, start: Duration, probe: Duration) -> Result<(), Error> {
        self.limits = self.limits.clone().start(start).probe(probe);
        Ok(())
    }

    fn set_user(&mut self, uid: u32, gid: u32) -> Result<(), Error> {
        self.user = Some(capscache::probe::User { uid, gid, groups: Vec::new() });
        Ok(())
    }

    fn add_group(&mut self, gid: u32) -> Result<(), Error> {
        let user = self.user.as_mut();
        user.ok_or_else(|| Error::invalid("there is no user yet"))?.groups.push(gid);
        Ok(())
    }
}

/// A library that only reads refuses options of probes.
#[cfg(not(feature = "probe"))]
impl Options {
    fn add_writable(&mut self, _: PathBuf) -> Result<(), Error> {
        Err(Error::unsupported())
    }

    fn set_timeouts(&mut self, _: Duration, _: Duration) -> Result<(), Error> {
        Err(Error::unsupported())
    }

    fn set_user(&mut self, _: u32, _: u32) -> Result<(), Error> {
        Err(Error::unsupported())
    }

    fn add_group(&mut self, _: u32) -> Result<(), Error> {
        Err(Error::unsupported())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::ErrorCode;

    /// Returns code and message of the error with which a cache is opened after two setters.
    fn refusal(first: impl FnOnce(&mut Options) -> Result<(), Error>) -> (ErrorCode, String) {
        let mut options = Options {
            builder: capscache::Cache::builder("/nonexistent"),
            refused: None,
            #[cfg(feature = "probe")]
            limits: capscache::probe::Limits::default(),
            #[cfg(feature = "probe")]
            user: None,
        };
        Options::change(Some(&mut options), "first", first);
        Options::change(Some(&mut options), "second", |_| Err(Error::invalid("later")));
        let error = options.open().unwrap_err();
        (error.code, error.message.into_string().unwrap())
    }

    #[test]
    fn the_first_refused_option_is_reported_with_its_setter() {
        let (code, message) = refusal(|_| Err(Error::invalid("name is empty")));
        assert_eq!(code, ErrorCode::InvalidArgument);
        assert_eq!(message, "first: invalid argument: name is empty");
    }

    #[cfg(not(feature = "probe"))]
    #[test]
    fn options_of_probes_are_unsupported_in_a_library_that_only_reads() {
        let setters: [fn(&mut Options) -> Result<(), Error>; 4] = [
            |options| options.add_writable("/a".into()),
            |options| options.set_timeouts(Duration::ZERO, Duration::ZERO),
            |options| options.set_user(0, 0),
            |options| options.add_group(0),
        ];
        for setter in setters {
            let (code, message) = refusal(setter);
            assert_eq!(code, ErrorCode::Unsupported);
            assert_eq!(
                message,
                "first: this library only reads entries: it was built without the feature `probe`"
            );
        }
    }
}
