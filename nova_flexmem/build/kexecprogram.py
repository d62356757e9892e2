# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""A program that starts another kernel: two system calls, which busybox lacks.

``kexec KERNEL INITRAMFS COMMAND_LINE`` loads a kernel, kexec_file_load(2);
``kexec`` starts it, reboot(2). The exit code is 0, or the errno of what
failed. A static ELF file for x86-64, made without a compiler (elf(5)).
"""

import struct

_ADDRESS = 0x400000
_EHDR_BYTES, _PHDR_BYTES = 64, 56
_PAGE_BYTES = 4096

#: Each instruction as machine code and as GNU as has it. At the start, (%rsp)
#: is argc, with argv behind it. Numbers of system calls:
#: arch/x86/entry/syscalls/syscall_64.tbl.
CODE = (
    ('833c2401', 'cmpl $1, (%rsp)'),
    ('7442', 'je start'),
    # kexec_file_load(open(argv[1]), open(argv[2]), length, argv[3], 0)
    ('488b7c2410', 'movq 16(%rsp), %rdi'),
    ('e84e000000', 'call open'),
    ('4189c4', 'movl %eax, %r12d'),
    ('488b7c2418', 'movq 24(%rsp), %rdi'),
    ('e841000000', 'call open'),
    ('89c6', 'movl %eax, %esi'),
    ('4489e7', 'movl %r12d, %edi'),
    ('4c8b542420', 'movq 32(%rsp), %r10'),
    ('31d2', 'xorl %edx, %edx'),
    ('ffc2', 'length: incl %edx'),
    ('41807c12ff00', 'cmpb $0, -1(%r10,%rdx)'),
    ('75f6', 'jne length'),
    ('4531c0', 'xorl %r8d, %r8d'),
    ('b840010000', 'movl $320, %eax'),
    # exit(-result)
    ('0f05', 'leave: syscall'),
    ('f7d8', 'exit: negl %eax'),
    ('89c7', 'movl %eax, %edi'),
    ('b83c000000', 'movl $60, %eax'),
    ('0f05', 'syscall'),
    # reboot(LINUX_REBOOT_MAGIC1, _MAGIC2, LINUX_REBOOT_CMD_KEXEC)
    ('bfaddee1fe', 'start: movl $0xfee1dead, %edi'),
    ('be69191228', 'movl $0x28121969, %esi'),
    ('ba43455845', 'movl $0x45584543, %edx'),
    ('b8a9000000', 'movl $169, %eax'),
    ('ebdd', 'jmp leave'),
    # open(%rdi, O_RDONLY)
    ('31f6', 'open: xorl %esi, %esi'),
    ('b802000000', 'movl $2, %eax'),
    ('0f05', 'syscall'),
    ('85c0', 'testl %eax, %eax'),
    ('78d2', 'js exit'),
    ('c3', 'ret'))


def program():
    """Return the content of the program's file."""
    code = bytes.fromhex(''.join(code for code, _text in CODE))
    start = _EHDR_BYTES + _PHDR_BYTES
    size = start + len(code)
    return (struct.pack('<4s4B8xHHIQQQIHHHHHH', b'\x7fELF', 2, 1, 1, 0, 2, 62,
                        1, _ADDRESS + start, _EHDR_BYTES, 0, 0, _EHDR_BYTES,
                        _PHDR_BYTES, 1, 0, 0, 0)
            + struct.pack('<IIQQQQQQ', 1, 5, 0, _ADDRESS, _ADDRESS, size,
                          size, _PAGE_BYTES)
            + code)
