# lua-resty-seckill: `make help` lists what can be made.
#
# The library is built from every csrc/*.c and csrc/<layer>/*.c, once for each
# variant: rel (the product, build/libseckill.so), asan, tsan, fuzz and
# mutant-<NAME>; all but rel live in build/<variant> only.

NAME := lua-resty-seckill
VERSION := $(shell sed -n 's/^\#define SECKILL_VERSION "\(.*\)"/\1/p' \
	csrc/seckill.h)

# make V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-4s %s\n' $(1) $@)

# Where things go. luarocks passes INST_LUADIR and INST_LIBDIR.
PREFIX ?= /usr/local
INST_LUADIR ?= $(PREFIX)/share/lua/5.1
INST_LIBDIR ?= $(PREFIX)/lib/lua/5.1
LUADIR ?= $(INST_LUADIR)
LIBDIR ?= $(INST_LIBDIR)
BINDIR ?= $(PREFIX)/bin
INCLUDEDIR ?= $(PREFIX)/include
PKGCONFIGDIR ?= $(PREFIX)/lib/pkgconfig

# CFLAGS and LDFLAGS belong to the user; they come last.
CC ?= cc
OPT ?= $(or $(OPT_$(VARIANT)),-O2)
DEBUG ?= -g
# In clang -Wconversion also minds assert(!"text").
WARN ?= -Wall -Wextra -Wconversion -Wshadow \
	$(if $(findstring clang,$(CC)),-Wno-string-conversion)
WERROR ?= -Werror
LIBFLAG ?= -shared

VARIANT ?= rel
MUTANT ?=
# Elsewhere than build/: make BUILD=<directory>.
BUILD ?= build
B := $(BUILD)/$(VARIANT)
SAN_rel :=
SAN_asan := -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
# A fence is invisible to TSan: the C code states its order by atomics.
SAN_tsan := -fsanitize=thread -Wno-tsan
SAN_fuzz := -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all
SAN := $(SAN_$(VARIANT))
# Half the time of -O2 to compile, and the reports name more of the calls. The
# range of a number, which that warning needs, is found at -O2 alone.
OPT_asan := -O1 -Wno-format-truncation
OPT_tsan := $(OPT_asan)

# gcc copies short strings whose length it does not know by `rep movs`, which
# takes longer than a call of memcpy.
COPY_FLAGS := -mmemcpy-strategy=libcall:-1:noalign \
	-mmemset-strategy=unrolled_loop:256:noalign,libcall:-1:noalign
# Asked when it is needed: `make deps` may have to install the compiler first.
ARCH_FLAGS = $(eval ARCH_FLAGS := \
	$(if $(filter x86_64%,$(shell $(CC) -dumpmachine)),-mcx16 \
	$(shell $(CC) $(COPY_FLAGS) -E -x c /dev/null >/dev/null 2>&1 && \
		echo $(COPY_FLAGS))))$(ARCH_FLAGS)
REAL_CFLAGS = -std=gnu11 $(DEBUG) $(WARN) $(OPT) $(WERROR) -fPIC \
	-fvisibility=hidden -pthread $(ARCH_FLAGS) $(SAN) \
	$(if $(MUTANT),-DMUTANT_$(MUTANT)) -D_GNU_SOURCE -Icsrc $(CFLAGS)
LIBS := -pthread -Wl,--as-needed -lcrypto -lz -lm
SO_FLAGS := -Wl,-soname,libseckill.so -Wl,-z,nodelete -Wl,-z,now

LAYERS := base shm limit acl breaker stock token io metrics
SRCS := $(sort $(wildcard csrc/seckill*.c $(LAYERS:%=csrc/%/*.c)))
# A mutant differs from rel in the files that name it, and takes the other
# objects from there.
MUTATED := $(if $(MUTANT),$(shell grep -rlw 'MUTANT_$(MUTANT)' csrc))
OBJS := $(if $(MUTANT),$(foreach s,$(SRCS:%.c=%),\
	$(if $(filter $s.c %.h,$(MUTATED)),$B,$(BUILD)/rel)/$s.o),\
	$(SRCS:%.c=$B/%.o))
SUPPORT_OBJS := $(patsubst %.c,$B/%.o,$(wildcard csrc/test/support/*.c))
TESTS := $(patsubst csrc/test/%.c,$B/test/%,$(wildcard csrc/test/*_test.c))
FUZZERS := $(patsubst csrc/fuzz/%.c,$B/fuzz/%,$(wildcard csrc/fuzz/*_fuzz.c))
BENCHES := $(patsubst bench/%.c,$B/bench/%,$(wildcard bench/*.c))
LIB_A := $B/libseckill.a
LIB_SO := $(if $(filter rel,$(VARIANT)),$(BUILD),$B)/libseckill.so
LUA_FILES := $(shell find lua -name '*.lua' 2>/dev/null)
BIN_FILES := $(wildcard bin/*)

.PHONY: help all deps deps-demo demo test test-c test-rel test-lua test-nginx \
	asan tsan mutants torture fuzz lint docs-check cdefs bench install \
	install-lua uninstall clean tests benches fuzzers FORCE
.DELETE_ON_ERROR:

### help: this list (default)
help:
	@echo "$(NAME) $(VERSION)"
	@sed -n 's/^### \([a-z-]*\): \(.*\)/  \1 \2/p' Makefile | \
		while read -r name text; do \
			printf '  %-12s %s\n' "$$name" "$$text"; done

### all: build build/libseckill.so
all: $(LIB_SO)

### deps: install the Debian packages that demo and test need
deps:
	@tools/deps test

deps-demo:
	@tools/deps demo

### demo: sell 1000 units under a flood, and prove it; KEEP=1 leaves it up
demo: deps-demo
	@$(MAKE) --no-print-directory all
	@examples/demo/run

### test: everything below, under 10 minutes; ends with the total
test: deps
	@$(MAKE) --no-print-directory all
	@tools/summary

### test-c: C tests, plain and under ASan + UBSan
test-c: test-rel asan

test-rel: tests
	@tools/run-c-tests $(VARIANT) $B/test

### test-lua: busted specs in LuaJIT
test-lua: all
	@busted

### test-nginx: specs inside nginx, then specs that drive nginx
test-nginx: all
	@tools/test-nginx

### asan: C tests under ASan + UBSan
asan:
	@$(MAKE) --no-print-directory VARIANT=asan test-rel

### tsan: C tests under TSan
tsan:
	@$(MAKE) --no-print-directory VARIANT=tsan test-rel

### mutants: break the engine on purpose; a named test must turn red
mutants: all tests
	@tools/mutants

### torture: the proofs at full counts; writes docs/proofs.md
torture: deps
	@$(MAKE) --no-print-directory all
	@tools/torture

### fuzz: run each fuzzer for FUZZ_SECONDS (20)
fuzz:
	@$(MAKE) --no-print-directory VARIANT=fuzz CC=clang fuzzers
	@tools/run-fuzz

### lint: format, layers, lengths, banned calls, export list, luacheck
lint: all
	@tools/lint

### docs-check: code blocks and links of the documentation
docs-check: all
	@tools/docs-check

### cdefs: generate lua/resty/seckill/cdefs.lua from csrc/seckill.h
cdefs:
	@tools/gen-cdefs lua/resty/seckill/cdefs.lua

### bench: the figures, as one table and JSON lines
bench: deps
	@$(MAKE) --no-print-directory all benches
	@bench/run

### install: into PREFIX (/usr/local), for LuaJIT, nginx and C
install: install-lua
	install -d $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(PKGCONFIGDIR)
	install -m 644 csrc/seckill.h $(DESTDIR)$(INCLUDEDIR)/seckill.h
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
		-e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
		seckill.pc.in >$(DESTDIR)$(PKGCONFIGDIR)/libseckill.pc

# A running nginx has the old library mapped: the new one is moved into place,
# never written over it.
install-lua: all
	install -d $(DESTDIR)$(LUADIR) $(DESTDIR)$(LIBDIR)
	install -m 755 $(LIB_SO) $(DESTDIR)$(LIBDIR)/libseckill.so.new
	mv -f $(DESTDIR)$(LIBDIR)/libseckill.so.new \
		$(DESTDIR)$(LIBDIR)/libseckill.so
	for f in $(LUA_FILES:lua/%=%); do \
		install -D -m 644 "lua/$$f" "$(DESTDIR)$(LUADIR)/$$f" || exit 1; \
	done
	for f in $(BIN_FILES:bin/%=%); do \
		install -D -m 755 "bin/$$f" "$(DESTDIR)$(BINDIR)/$$f" || exit 1; \
	done

### uninstall: remove what install put there
uninstall:
	rm -f $(DESTDIR)$(LIBDIR)/libseckill.so \
		$(DESTDIR)$(INCLUDEDIR)/seckill.h \
		$(DESTDIR)$(PKGCONFIGDIR)/libseckill.pc \
		$(LUA_FILES:lua/%=$(DESTDIR)$(LUADIR)/%) \
		$(BIN_FILES:bin/%=$(DESTDIR)$(BINDIR)/%)
	-rmdir $(DESTDIR)$(LUADIR)/resty/seckill/limit \
		$(DESTDIR)$(LUADIR)/resty/seckill/cli \
		$(DESTDIR)$(LUADIR)/resty/seckill 2>/dev/null || true

### clean: remove what was built
clean:
	rm -rf $(BUILD)

# ---- how things are built ---------------------------------------------------

tests: $(TESTS)
benches: $(BENCHES)
fuzzers: $(FUZZERS)

# Other flags than last time: compile again.
$B/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(REAL_CFLAGS)' | cmp -s - $@ || \
		echo '$(CC) $(REAL_CFLAGS)' >$@

# A file that is gone must leave the library too.
$B/objects: FORCE
	@mkdir -p $(@D)
	@echo '$(OBJS) $(LIBFLAG) $(LDFLAGS)' | cmp -s - $@ || \
		echo '$(OBJS) $(LIBFLAG) $(LDFLAGS)' >$@

$B/%.o: %.c $B/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$Q$(CC) $(REAL_CFLAGS) -MMD -MP -c -o $@ $<

$(LIB_SO): $(OBJS) $B/objects
	$(call say,LINK)
	$Q$(CC) $(SAN) $(LIBFLAG) $(SO_FLAGS) -o $@.new $(OBJS) $(LDFLAGS) $(LIBS)
	@mv -f $@.new $@

$(LIB_A): $(OBJS) $B/objects
	@rm -f $@
	$(call say,AR)
	$Q$(AR) rcs $@ $(OBJS)

$B/test/%: $B/csrc/test/%.o $(SUPPORT_OBJS) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK)
	$Q$(CC) $(SAN) -o $@ $^ $(LDFLAGS) $(LIBS)

$B/fuzz/%: $B/csrc/fuzz/%.o $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK)
	$Q$(CC) $(SAN) -fsanitize=fuzzer -o $@ $^ $(LDFLAGS) $(LIBS)

$B/bench/redis_bench: LIBS += -lhiredis
$B/bench/%: $B/bench/%.o $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK)
	$Q$(CC) $(SAN) -o $@ $^ $(LDFLAGS) $(LIBS)

.SECONDARY:
-include $(shell find $B -name '*.d' 2>/dev/null)
