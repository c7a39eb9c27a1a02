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
	dir := os.Getenv(PoolEnv)
	if pool = (&Pool{dir: dir}); dir != "" {
		err = pool.endWithOwner()
	} else {
		pool, err = NewPool() // before there is another temporary folder: this one has a short path
	}
	if err != nil {
		return 1, err
	}
	remove, err := keepTemporary()
	if err != nil {
		return 1, err
	}
	code = m.Run()
	if dir != "" {
		return code, errors.Join(saveAsked(dir), remove())
	}
	return code, errors.Join(pool.Close(), checkUnexplained(), remove())
}
