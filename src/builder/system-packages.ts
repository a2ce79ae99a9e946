/** What a build looked for: a header, a library to link with, or a name that pkg-config, Meson or CMake look up. */
type DependencyKind = 'header' | 'library' | 'module';

type DebianPackageRow = readonly [debian: string, headers: string, libraries: string, modules: string];

/** The programs of packages whose programs have other names than the package. */
const PROGRAM_NAMES: Readonly<Record<string, string>> = {
  autoconf: 'autoconf autoreconf autoheader',
  automake: 'automake aclocal',
  gettext: 'msgfmt xgettext',
  'golang-go': 'go',
  'pkg-config': 'pkg-config pkgconf',
};
const programRow = (debian: string): DebianPackageRow => [debian, '', '', PROGRAM_NAMES[debian] ?? debian];

/**
 * The Debian packages that contain what builds most often miss: per package its headers (`/` at the end stands for
 * everything in that folder), its libraries (without `lib`), and its other names: in pkg-config, Meson and CMake, its
 * `…-config` program, or its programs. To cover another package, add a line. The names are those of Debian 12 and 13.
 */
const DEBIAN_PACKAGES: readonly DebianPackageRow[] = [
  ['python3-dev', 'Python.h pyconfig.h', '', 'python3 python3-embed python3-config'],
  // Compression and hashes.
  ['zlib1g-dev', 'zlib.h', 'z', 'zlib'],
  ['libbz2-dev', 'bzlib.h', 'bz2', 'bzip2'],
  ['liblzma-dev', 'lzma.h lzma/', 'lzma', 'liblzma'],
  ['libzstd-dev', 'zstd.h', 'zstd', 'libzstd zstd'],
  ['liblz4-dev', 'lz4.h lz4frame.h lz4hc.h', 'lz4', 'liblz4 lz4'],
  ['libsnappy-dev', 'snappy.h snappy-c.h', 'snappy', 'snappy'],
  ['libbrotli-dev', 'brotli/', 'brotlienc brotlidec brotlicommon', 'libbrotlienc libbrotlidec'],
  ['libarchive-dev', 'archive.h', 'archive', 'libarchive'],
  ['libxxhash-dev', 'xxhash.h', 'xxhash', 'libxxhash'],
  // Cryptography and identity.
  ['libssl-dev', 'openssl/', 'ssl crypto', 'openssl libssl libcrypto'],
  ['libsodium-dev', 'sodium.h sodium/', 'sodium', 'libsodium'],
  ['libsecp256k1-dev', 'secp256k1.h', 'secp256k1', 'libsecp256k1'],
  ['libgnutls28-dev', 'gnutls/', 'gnutls', 'gnutls'],
  ['libgcrypt20-dev', 'gcrypt.h', 'gcrypt', 'libgcrypt'],
  ['libgpgme-dev', 'gpgme.h', 'gpgme', 'gpgme gpgme-config'],
  ['libsqlcipher-dev', 'sqlcipher/', 'sqlcipher', 'sqlcipher'],
  ['libldap-dev', 'ldap.h lber.h', 'ldap lber ldap_r', 'ldap'],
  ['libsasl2-dev', 'sasl/', 'sasl2', 'libsasl2'],
  ['libkrb5-dev', 'krb5.h krb5/ gssapi.h gssapi/', 'krb5 gssapi_krb5', 'krb5 krb5-gssapi krb5-config gssapi'],
  ['libpam0g-dev', 'security/', 'pam', 'pam'],
  // Databases.
  ['libsqlite3-dev', 'sqlite3.h', 'sqlite3', 'sqlite3'],
  ['libpq-dev', 'libpq-fe.h pg_config.h', 'pq', 'libpq pg_config postgresql'],
  [
    'default-libmysqlclient-dev',
    'mysql.h mysql/ mariadb/',
    'mysqlclient mariadb mariadbclient',
    'mysqlclient libmariadb mariadb mysql_config mariadb_config',
  ],
  ['unixodbc-dev', 'sql.h sqlext.h', 'odbc', 'odbc odbc_config'],
  ['freetds-dev', 'sybdb.h sybfront.h', 'sybdb ct', 'freetds'],
  ['libdb-dev', 'db.h', 'db', ''],
  ['liblmdb-dev', 'lmdb.h', 'lmdb', 'lmdb'],
  ['libleveldb-dev', 'leveldb/', 'leveldb', 'leveldb'],
  ['librocksdb-dev', 'rocksdb/', 'rocksdb', 'rocksdb'],
  ['libmemcached-dev', 'libmemcached/', 'memcached', 'libmemcached'],
  ['librdkafka-dev', 'librdkafka/', 'rdkafka', 'rdkafka'],
  // Text and documents.
  ['libxml2-dev', 'libxml/', 'xml2', 'libxml-2.0 libxml2 xml2-config'],
  ['libxslt1-dev', 'libxslt/ libexslt/', 'xslt exslt', 'libxslt libexslt xslt-config'],
  ['libexpat1-dev', 'expat.h', 'expat', 'expat'],
  ['libyaml-dev', 'yaml.h', 'yaml', 'yaml-0.1'],
  ['libicu-dev', 'unicode/', 'icuuc icui18n icudata', 'icu-uc icu-i18n icu icu-config'],
  ['libre2-dev', 're2/', 're2', 're2'],
  ['libpcre2-dev', 'pcre2.h', 'pcre2-8', 'libpcre2-8'],
  ['libmagic-dev', 'magic.h', 'magic', 'libmagic'],
  ['libreadline-dev', 'readline/', 'readline', 'readline'],
  ['libncurses-dev', 'ncurses.h curses.h', 'ncurses ncursesw tinfo', 'ncurses ncursesw'],
  ['libprotobuf-dev', 'google/protobuf/', 'protobuf', 'protobuf'],
  // Images and GUIs.
  ['libjpeg-dev', 'jpeglib.h jconfig.h', 'jpeg', 'libjpeg jpeg'],
  ['libpng-dev', 'png.h', 'png png16', 'libpng libpng16 png'],
  ['libtiff-dev', 'tiff.h tiffio.h', 'tiff', 'libtiff-4 tiff'],
  ['libwebp-dev', 'webp/', 'webp', 'libwebp'],
  ['libopenjp2-7-dev', 'openjpeg.h', 'openjp2', 'libopenjp2 openjpeg'],
  ['liblcms2-dev', 'lcms2.h', 'lcms2', 'lcms2'],
  ['libfreetype-dev', 'ft2build.h freetype/', 'freetype', 'freetype2 freetype freetype-config'],
  ['libcairo2-dev', 'cairo.h cairo/', 'cairo', 'cairo'],
  ['libpango1.0-dev', 'pango/', 'pango-1.0 pangocairo-1.0', 'pango pangocairo'],
  ['libglib2.0-dev', 'glib.h glib-object.h gio/', 'glib-2.0 gobject-2.0', 'glib-2.0 gobject-2.0 gio-2.0'],
  ['libgirepository1.0-dev', 'girepository.h', 'girepository-1.0', 'gobject-introspection-1.0'],
  ['libgirepository-2.0-dev', 'girepository/', 'girepository-2.0', 'girepository-2.0'],
  ['libgtk-3-dev', 'gtk/', 'gtk-3', 'gtk+-3.0'],
  ['libsdl2-dev', 'SDL.h SDL2/', 'SDL2', 'sdl2 sdl2-config'],
  ['libgl-dev', 'GL/gl.h', 'GL', 'gl opengl'],
  ['libglu1-mesa-dev', 'GL/glu.h', 'GLU', 'glu'],
  ['libxext-dev', 'X11/extensions/', 'Xext', 'xext'],
  ['libxtst-dev', 'X11/extensions/XTest.h', 'Xtst', 'xtst'],
  ['libx11-dev', 'X11/', 'X11', 'x11'],
  ['tk-dev', 'tk.h', 'tk', 'tk'],
  ['libmagickwand-dev', 'wand/ MagickWand/', 'MagickWand-6.Q16', 'MagickWand MagickWand-config'],
  ['libopencv-dev', 'opencv2/', 'opencv_core', 'opencv4 opencv'],
  // Audio and video.
  ['portaudio19-dev', 'portaudio.h', 'portaudio', 'portaudio-2.0'],
  ['libasound2-dev', 'alsa/', 'asound', 'alsa'],
  ['libsndfile1-dev', 'sndfile.h', 'sndfile', 'sndfile'],
  ['libpulse-dev', 'pulse/', 'pulse', 'libpulse'],
  ['libavformat-dev', 'libavformat/', 'avformat', 'libavformat'],
  ['libavcodec-dev', 'libavcodec/', 'avcodec', 'libavcodec'],
  ['libavdevice-dev', 'libavdevice/', 'avdevice', 'libavdevice'],
  ['libavfilter-dev', 'libavfilter/', 'avfilter', 'libavfilter'],
  ['libavutil-dev', 'libavutil/', 'avutil', 'libavutil'],
  ['libswscale-dev', 'libswscale/', 'swscale', 'libswscale'],
  // Numerics and maps.
  ['libopenblas-dev', 'cblas.h openblas_config.h', 'openblas cblas', 'openblas cblas'],
  ['libblas-dev', '', 'blas', 'blas'],
  ['liblapack-dev', '', 'lapack', 'lapack'],
  ['liblapacke-dev', 'lapacke.h', 'lapacke', 'lapacke'],
  ['libhdf5-dev', 'hdf5.h', 'hdf5 hdf5_hl', 'hdf5'],
  ['libnetcdf-dev', 'netcdf.h', 'netcdf', 'netcdf nc-config'],
  ['libgmp-dev', 'gmp.h gmpxx.h', 'gmp gmpxx', 'gmp'],
  ['libmpfr-dev', 'mpfr.h', 'mpfr', 'mpfr'],
  ['libmpc-dev', 'mpc.h', 'mpc', 'mpc'],
  ['libfftw3-dev', 'fftw3.h', 'fftw3 fftw3f', 'fftw3 fftw3f'],
  ['libgsl-dev', 'gsl/', 'gsl gslcblas', 'gsl gsl-config'],
  ['libsuitesparse-dev', 'suitesparse/ cholmod.h umfpack.h', 'cholmod umfpack', 'cholmod'],
  ['libeigen3-dev', 'Eigen/ eigen3/', '', 'eigen3'],
  ['libboost-all-dev', 'boost/', 'boost_python3 boost_system', 'boost'],
  ['libgeos-dev', 'geos_c.h', 'geos_c', 'geos geos-config'],
  ['libproj-dev', 'proj.h proj_api.h', 'proj', 'proj'],
  ['libgdal-dev', 'gdal.h gdal/', 'gdal', 'gdal gdal-config'],
  ['libspatialindex-dev', 'spatialindex/', 'spatialindex_c spatialindex', 'libspatialindex'],
  ['libopenmpi-dev', 'mpi.h', 'mpi', 'ompi mpi'],
  ['libgraphviz-dev', 'graphviz/ cgraph.h gvc.h', 'cgraph gvc cdt', 'libcgraph libgvc libcdt'],
  ['libxmlsec1-dev', 'xmlsec/', 'xmlsec1 xmlsec1-openssl', 'xmlsec1 xmlsec1-config'],
  // Networking.
  ['libcurl4-openssl-dev', 'curl/', 'curl', 'libcurl curl curl-config'],
  ['libssh-dev', 'libssh/', 'ssh', 'libssh'],
  ['libssh2-1-dev', 'libssh2.h', 'ssh2', 'libssh2'],
  ['libgit2-dev', 'git2.h git2/', 'git2', 'libgit2'],
  ['libzmq3-dev', 'zmq.h', 'zmq', 'libzmq'],
  ['libevent-dev', 'event.h event2/', 'event', 'libevent'],
  ['libev-dev', 'ev.h', 'ev', 'libev'],
  ['libuv1-dev', 'uv.h', 'uv', 'libuv'],
  ['libpcap-dev', 'pcap.h pcap/', 'pcap', 'libpcap pcap-config'],
  // Hardware and system.
  ['libffi-dev', 'ffi.h ffi/', 'ffi', 'libffi ffi'],
  ['uuid-dev', 'uuid/', 'uuid', 'uuid'],
  ['libusb-1.0-0-dev', 'libusb.h libusb-1.0/', 'usb-1.0', 'libusb-1.0'],
  ['libudev-dev', 'libudev.h', 'udev', 'libudev'],
  ['libhidapi-dev', 'hidapi/ hidapi.h', 'hidapi-libusb hidapi-hidraw', 'hidapi-libusb'],
  ['libbluetooth-dev', 'bluetooth/', 'bluetooth', 'bluez'],
  ['libdbus-1-dev', 'dbus/', 'dbus-1', 'dbus-1'],
  ['libsystemd-dev', 'systemd/', 'systemd', 'libsystemd libsystemd-journal libsystemd-daemon'],
  ['libcap-dev', 'sys/capability.h', 'cap', 'libcap'],
  ['libacl1-dev', 'sys/acl.h acl/', 'acl', 'libacl'],
  ['libseccomp-dev', 'seccomp.h', 'seccomp', 'libseccomp'],
  ['libi2c-dev', 'i2c/', 'i2c', ''],
  ['libgpiod-dev', 'gpiod.h', 'gpiod', 'libgpiod'],
  ['libcups2-dev', 'cups/', 'cups', 'cups cups-config'],
  // Programs that builds run.
  ...['autoconf', 'automake', 'bison', 'cmake', 'flex', 'gettext', 'git', 'golang-go', 'gperf', 'm4'].map(
    programRow,
  ),
  ...['make', 'meson', 'nasm', 'patch', 'pkg-config', 'swig', 'yasm'].map(programRow),
  ['libtool', '', '', 'libtool libtoolize'],
  ['ninja-build', '', '', 'ninja'],
  ['protobuf-compiler', '', '', 'protoc'],
  ['libaio-dev', 'libaio.h', 'aio', 'libaio'],
];

/** Returns the lookup key of a name; case is ignored for modules: CMake says ZLIB where pkg-config says zlib. */
const lookupKey = (kind: DependencyKind, name: string): string =>
  `${kind} ${kind === 'module' ? name.toLowerCase() : name}`;

const PACKAGE_BY_KEY: ReadonlyMap<string, string> = new Map(
  DEBIAN_PACKAGES.flatMap(([debian, ...columns]) =>
    (['header', 'library', 'module'] as const).flatMap((kind, i) =>
      (columns[i] ?? '')
        .split(' ')
        .filter((name) => name !== '')
        .map((name) => [lookupKey(kind, name), debian] as const),
    ),
  ),
);

/** Returns the Debian package that contains what a build looked for; undefined if the table does not list it. */
export function findDebianPackage(kind: DependencyKind, name: string): string | undefined {
  const exact = PACKAGE_BY_KEY.get(lookupKey(kind, name));
  if (exact !== undefined || kind !== 'header') return exact;
  // Try the header's folders, the innermost first.
  for (let end = name.lastIndexOf('/'); end > 0; end = name.lastIndexOf('/', end - 1)) {
    const folder = PACKAGE_BY_KEY.get(lookupKey(kind, name.slice(0, end + 1)));
    if (folder !== undefined) return folder;
  }
  return undefined;
}
