/* A C extension: each ABI needs a wheel of its own. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *hello(PyObject *self, PyObject *args) {
    (void)self;
    (void)args;
    return PyUnicode_FromString("compiled by piw");
}

static PyMethodDef methods[] = {
    {"hello", hello, METH_NOARGS, "Says who compiled it."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "piw_sample_native", "A sample that ships with piw.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_piw_sample_native(void) { return PyModule_Create(&module); }
