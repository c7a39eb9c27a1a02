package lab

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// pool is where the tests of this process have their clusters.
var pool *Pool

// Main is the TestMain of a package whose tests need clusters.
func Main(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	remove, err := keepTemporary()
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if dir := os.Getenv(PoolEnv); dir != "" {
		pool = &Pool{dir: dir}
		return m.Run(), saveAsked(dir)
	}
	dir, err := os.MkdirTemp(systemTemporary, "kpp-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if pool, err = NewPool(dir); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, errors.Join(pool.Close(), checkUnexplained())
}
