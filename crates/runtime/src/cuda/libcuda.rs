//! The CUDA driver of the system, loaded when it is asked for.

use super::driver::{DeviceInfo, Driver, DriverError, FunctionId, ModuleId, ParamValue};
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;

/// The lowest CUDA version that takes the PTX planc emits (ISA 7.0), as `cuDriverGetVersion` gives it.
const NEEDED: c_int = 11000;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR`.
const CAPABILITY: [c_int; 2] = [75, 76];
/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
const DYNAMIC_SHARED: c_int = 8;
/// `CU_JIT_ERROR_LOG_BUFFER` and `CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES`.
const ERROR_LOG: [c_int; 2] = [5, 6];
/// Dynamic shared memory up to which a kernel needs no permission.
const PLAIN_SHARED: u32 = 48 << 10;

type Status = c_int;
type Handle = *mut c_void;

/// Declares the functions that are used, and how they are found.
macro_rules! functions {
    ($($field:ident = $name:literal: fn($($arg:ty),*);)*) => {
        /// The driver's functions, with the signatures of `cuda.h`.
        struct Functions {
            $($field: unsafe extern "C" fn($($arg),*) -> Status,)*
        }

        impl Functions {
            fn find(library: &Library) -> Result<Functions, DriverError> {
                Ok(Functions {
                    $($field: {
                        // SAFETY: the driver's interface is stable: a function of this name has this signature.
                        let symbol = unsafe { library.get::<unsafe extern "C" fn($($arg),*) -> Status>($name.as_bytes()) };
                        *symbol.map_err(|_| DriverError::Missing($name))?
                    },)*
                })
            }
        }
    };
}

functions! {
    init = "cuInit": fn(c_uint);
    version = "cuDriverGetVersion": fn(*mut c_int);
    count = "cuDeviceGetCount": fn(*mut c_int);
    device = "cuDeviceGet": fn(*mut c_int, c_int);
    name = "cuDeviceGetName": fn(*mut c_char, c_int, c_int);
    attribute = "cuDeviceGetAttribute": fn(*mut c_int, c_int, c_int);
    memory = "cuDeviceTotalMem_v2": fn(*mut usize, c_int);
    retain = "cuDevicePrimaryCtxRetain": fn(*mut Handle, c_int);
    release = "cuDevicePrimaryCtxRelease_v2": fn(c_int);
    set_current = "cuCtxSetCurrent": fn(Handle);
    synchronize = "cuCtxSynchronize": fn();
    alloc = "cuMemAlloc_v2": fn(*mut u64, usize);
    free = "cuMemFree_v2": fn(u64);
    upload = "cuMemcpyHtoD_v2": fn(u64, *const c_void, usize);
    download = "cuMemcpyDtoH_v2": fn(*mut c_void, u64, usize);
    load = "cuModuleLoadDataEx": fn(*mut Handle, *const c_void, c_uint, *const c_int, *const Handle);
    function = "cuModuleGetFunction": fn(*mut Handle, Handle, *const c_char);
    set_attribute = "cuFuncSetAttribute": fn(Handle, c_int, c_int);
    launch = "cuLaunchKernel": fn(
        Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *const *const c_void, *const *const c_void
    );
    error_string = "cuGetErrorString": fn(Status, *mut *const c_char);
}

/// The first device of the system, through its driver.
pub struct LibCuda {
    functions: Functions,
    info: DeviceInfo,
    device: c_int,
    context: Handle,
    /// Keeps the functions where they are.
    _library: Library,
}

// SAFETY: the driver's functions may be called from any thread; the context is made current in each call, and the handles
// in it are not tied to threads.
unsafe impl Send for LibCuda {}
// SAFETY: as above.
unsafe impl Sync for LibCuda {}

impl std::fmt::Debug for LibCuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LibCuda").field("info", &self.info).finish_non_exhaustive()
    }
}

impl LibCuda {
    /// Opens the first device.
    ///
    /// # Errors
    /// When there is no driver or no device, or the driver is too old.
    pub fn open() -> Result<LibCuda, DriverError> {
        let name = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
        LibCuda::open_library(name)
    }

    /// Opens the first device through the driver library called `name`.
    ///
    /// # Errors
    /// As [`LibCuda::open`].
    fn open_library(name: &str) -> Result<LibCuda, DriverError> {
        // SAFETY: loading the system's driver runs its initialisers, which is what the caller asks for.
        let library = unsafe { Library::new(name) };
        let library = library.map_err(|_| DriverError::NoLibrary(format!("{name} is not found")))?;
        let f = Functions::find(&library)?;
        // SAFETY: in all calls below the pointers are to variables of the right type that live during the call.
        unsafe {
            let status = (f.init)(0);
            if status != 0 {
                return Err(DriverError::NoDevice(f.message(status)));
            }
            let mut version = 0;
            f.check("cuDriverGetVersion", (f.version)(&raw mut version))?;
            if version < NEEDED {
                let text = |v: c_int| format!("{}.{}", v / 1000, v % 1000 / 10);
                return Err(DriverError::TooOld { have: text(version), need: text(NEEDED) });
            }
            let mut count = 0;
            f.check("cuDeviceGetCount", (f.count)(&raw mut count))?;
            if count < 1 {
                return Err(DriverError::NoDevice("the driver finds none".into()));
            }
            let mut device = 0;
            f.check("cuDeviceGet", (f.device)(&raw mut device, 0))?;
            let mut name = [0 as c_char; 256];
            f.check("cuDeviceGetName", (f.name)(name.as_mut_ptr(), 255, device))?;
            let mut capability = [0; 2];
            for (value, attribute) in capability.iter_mut().zip(CAPABILITY) {
                f.check("cuDeviceGetAttribute", (f.attribute)(value, attribute, device))?;
            }
            let mut memory = 0usize;
            f.check("cuDeviceTotalMem", (f.memory)(&raw mut memory, device))?;
            let mut context = ptr::null_mut();
            f.check("cuDevicePrimaryCtxRetain", (f.retain)(&raw mut context, device))?;
            let info = DeviceInfo {
                name: CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned(),
                capability: capability[0].unsigned_abs() * 10 + capability[1].unsigned_abs(),
                memory: memory as u64,
            };
            Ok(LibCuda { functions: f, info, device, context, _library: library })
        }
    }

    /// Makes the context that of the calling thread.
    fn enter(&self) -> Result<&Functions, DriverError> {
        let f = &self.functions;
        // SAFETY: the context lives as long as `self`.
        f.check("cuCtxSetCurrent", unsafe { (f.set_current)(self.context) })?;
        Ok(f)
    }
}

impl Drop for LibCuda {
    fn drop(&mut self) {
        // SAFETY: the context was retained once, and nothing uses it any more.
        unsafe { (self.functions.release)(self.device) };
    }
}

impl Functions {
    fn message(&self, status: Status) -> String {
        let mut text = ptr::null();
        // SAFETY: the pointer is to a variable; the driver's strings are static.
        let known = unsafe { (self.error_string)(status, &raw mut text) } == 0 && !text.is_null();
        if !known {
            return format!("error {status}");
        }
        // SAFETY: a static string that ends with a zero.
        let text = unsafe { CStr::from_ptr(text) };
        format!("{} (error {status})", text.to_string_lossy())
    }

    fn check(&self, call: &'static str, status: Status) -> Result<(), DriverError> {
        if status == 0 { Ok(()) } else { Err(DriverError::Call { call, message: self.message(status) }) }
    }
}

impl Driver for LibCuda {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn alloc(&self, bytes: usize) -> Result<u64, DriverError> {
        let (f, mut address) = (self.enter()?, 0);
        // SAFETY: the pointer is to a variable that lives during the call.
        f.check("cuMemAlloc", unsafe { (f.alloc)(&raw mut address, bytes.max(1)) })?;
        Ok(address)
    }

    fn free(&self, address: u64) {
        if let Ok(f) = self.enter() {
            // SAFETY: the driver checks addresses; by the contract it is one of `alloc`'s that nothing uses any more.
            unsafe { (f.free)(address) };
        }
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<(), DriverError> {
        let f = self.enter()?;
        // SAFETY: the bytes live during the call, which returns when they were read; the driver checks the address.
        f.check("cuMemcpyHtoD", unsafe { (f.upload)(to, from.as_ptr().cast(), from.len()) })
    }

    fn download(&self, from: u64, to: &mut [u8]) -> Result<(), DriverError> {
        let f = self.enter()?;
        // SAFETY: the bytes live during the call, which returns when they were written; the driver checks the address.
        f.check("cuMemcpyDtoH", unsafe { (f.download)(to.as_mut_ptr().cast(), from, to.len()) })
    }

    fn load(&self, ptx: &str) -> Result<ModuleId, DriverError> {
        let f = self.enter()?;
        let wrong = |message: String| DriverError::Call { call: "cuModuleLoadDataEx", message };
        let text = CString::new(ptx).map_err(|_| wrong("the text contains a zero".into()))?;
        let mut log = [0u8; 4096];
        let mut module = ptr::null_mut();
        // Option values are passed in the place of pointers.
        let values = [log.as_mut_ptr().cast(), ptr::without_provenance_mut(log.len() - 1)];
        // SAFETY: text, options and log live during the call, and the log is as long as the options say.
        let status = unsafe { (f.load)(&raw mut module, text.as_ptr().cast(), 2, ERROR_LOG.as_ptr(), values.as_ptr()) };
        if status != 0 {
            let said = String::from_utf8_lossy(log.split(|b| *b == 0).next().unwrap_or_default()).trim().to_string();
            return Err(wrong(format!("{}{}{said}", f.message(status), if said.is_empty() { "" } else { ": " })));
        }
        Ok(ModuleId(module.expose_provenance() as u64))
    }

    fn function(&self, module: ModuleId, name: &str) -> Result<FunctionId, DriverError> {
        let f = self.enter()?;
        let wrong = |_| DriverError::Call { call: "cuModuleGetFunction", message: "the name contains a zero".into() };
        let name = CString::new(name).map_err(wrong)?;
        let mut function = ptr::null_mut();
        // SAFETY: the handle is one that the driver gave; the name and the variable live during the call.
        let status = unsafe { (f.function)(&raw mut function, handle(module.0), name.as_ptr()) };
        f.check("cuModuleGetFunction", status)?;
        Ok(FunctionId(function.expose_provenance() as u64))
    }

    fn launch(
        &self,
        function: FunctionId,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        params: &[ParamValue],
    ) -> Result<(), DriverError> {
        let f = self.enter()?;
        let function = handle(function.0);
        if shared > PLAIN_SHARED {
            // SAFETY: the handle is one that the driver gave.
            let status = unsafe { (f.set_attribute)(function, DYNAMIC_SHARED, shared as c_int) };
            f.check("cuFuncSetAttribute", status)?;
        }
        let values: Vec<*const c_void> = params
            .iter()
            .map(|p| match p {
                ParamValue::Address(a) => ptr::from_ref(a).cast(),
                ParamValue::Size(n) => ptr::from_ref(n).cast(),
            })
            .collect();
        let ([gx, gy, gz], [bx, by, bz]) = (grid, block);
        // SAFETY: the handle is one that the driver gave. It reads as many values as the kernel has parameters, each of
        // its size, during the call: the compiler made the list from the kernel's declaration, and the plan's hash
        // matched. The default stream keeps launches and copies in order.
        let status = unsafe {
            (f.launch)(function, gx, gy, gz, bx, by, bz, shared, ptr::null_mut(), values.as_ptr(), ptr::null())
        };
        f.check("cuLaunchKernel", status)
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        let f = self.enter()?;
        // SAFETY: takes nothing.
        f.check("cuCtxSynchronize", unsafe { (f.synchronize)() })
    }
}

/// A handle as the driver gave it, which is an opaque address.
fn handle(number: u64) -> Handle {
    ptr::with_exposed_provenance_mut(number as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named() {
        let error = LibCuda::open_library("libplanc-no-such-driver.so.9").map(drop).unwrap_err();
        assert_eq!(error.to_string(), "no CUDA driver is installed: libplanc-no-such-driver.so.9 is not found");
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn a_library_without_the_functions_is_too_old() {
        let error = LibCuda::open_library("libm.so.6").map(drop).unwrap_err();
        assert_eq!(error, DriverError::Missing("cuInit"));
    }
}
