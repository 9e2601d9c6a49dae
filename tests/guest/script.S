/*
 * A guest without a kernel: started by PVH in 32-bit protected mode, it carries out the list of operations that its initrd holds,
 * and prints what it read on COM1. tests/guest/bare.py writes the lists. One operation is five 32-bit words: number, a, b, c, d; offsets are
 * into the initrd. Printed lines: "=" and a value of 8 hex digits; "T" when a wait ran out.
 */
	.section .note.Xen, "a", @note
	.long 4, 4, 18
	.asciz "Xen"
	.long start

	.text
	.code32
	.globl start
start:	cld
	movl $stack_end, %esp
	lgdt gdtr
	ljmp $0x10, $1f
1:	movl $0x18, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl 16(%ebx), %eax		/* hvm_start_info: module list */
	movl (%eax), %ebp		/* the initrd: ebp for good */
	movl %ebp, %esi			/* next operation: esi */
next:	movl (%esi), %eax
	movl 4(%esi), %ebx
	movl 8(%esi), %ecx
	movl 12(%esi), %edx
	movl 16(%esi), %edi
	addl $20, %esi
	cmpl $(table_end - table) / 4, %eax
	jae op_halt
	jmp *table(,%eax,4)

table:	.long op_halt, op_out, op_in, op_write, op_read, op_copy, op_dump, op_wait16, op_outs, op_irq_on, op_wait_irq, op_flood, op_triple, op_jump
	.long op_print, op_spin, op_cpuid, op_rdmsr, op_ins, op_touch, op_again, op_move
	.long op_sweep_in, op_sweep_out, op_sweep_read, op_sweep_write, op_msrs, op_call, op_repeat, op_wait_bits
table_end:

op_halt: cli
	hlt
	jmp op_halt

/* out: width a, port b, value c */
op_out:	movl %edx, %eax
	movl %ecx, %edx
	cmpl $2, %ebx
	je 2f
	ja 4f
	outb %al, %dx
	jmp next
2:	outw %ax, %dx
	jmp next
4:	outl %eax, %dx
	jmp next

/* in: width a, port b */
op_in:	movl %ecx, %edx
	xorl %eax, %eax
	cmpl $2, %ebx
	je 2f
	ja 4f
	inb %dx, %al
	jmp print_value
2:	inw %dx, %ax
	jmp print_value
4:	inl %dx, %eax
	jmp print_value

/* write memory: width a, address b, value c */
op_write: cmpl $2, %ebx
	je 2f
	ja 4f
	movb %dl, (%ecx)
	jmp next
2:	movw %dx, (%ecx)
	jmp next
4:	movl %edx, (%ecx)
	jmp next

/* read memory: width a, address b */
op_read: xorl %eax, %eax
	cmpl $2, %ebx
	je 2f
	ja 4f
	movb (%ecx), %al
	jmp print_value
2:	movw (%ecx), %ax
	jmp print_value
4:	movl (%ecx), %eax
	jmp print_value

/* copy: to address a, from offset b, c bytes */
op_copy: pushl %esi
	movl %ebx, %edi
	leal (%ebp,%ecx), %esi
	movl %edx, %ecx
	rep movsb
	popl %esi
	jmp next

/* print c..: b words from address a */
op_dump: testl %ecx, %ecx
	jz next
	movl (%ebx), %eax
	pushl %ebx
	pushl %ecx
	call hex
	popl %ecx
	popl %ebx
	addl $4, %ebx
	decl %ecx
	jmp op_dump

/* wait until the 16 bits at address a are b, c rounds at most */
op_wait16: movzwl (%ebx), %eax
	cmpl %ecx, %eax
	je next
	pause
	decl %edx
	jnz op_wait16
	movl $'T', %eax
	call char
	movl $'\n', %eax
	call char
	jmp next

/* string output: port a, from offset b, c bytes at once */
op_outs: pushl %esi
	leal (%ebp,%ecx), %esi
	movl %edx, %ecx
	movl %ebx, %edx
	rep outsb
	popl %esi
	jmp next

/* string input: port a, to address b, c bytes at once */
op_ins:	movl %ecx, %edi
	movl %edx, %ecx
	movl %ebx, %edx
	rep insb
	jmp next

/* interrupts on: vector 0x40 counts and acknowledges, in xAPIC mode */
op_irq_on:
	movl $irq, %eax
	movw %ax, idt + 0x40 * 8
	movw $0x10, idt + 0x40 * 8 + 2
	movw $0x8e00, idt + 0x40 * 8 + 4
	shrl $16, %eax
	movw %ax, idt + 0x40 * 8 + 6
	lidt idtr
	movl $0x1ff, 0xfee000f0		/* spurious vector register: on */
	sti
	jmp next
irq:	pushfl
	incl irqs
	movl $0, 0xfee000b0
	popfl
	sti
	lret $4				/* not iret: software KVMs cannot do it at CPL0 in this mode */

/* wait until a interrupts came, b rounds at most; prints how many */
op_wait_irq: cmpl %ebx, irqs
	jae 1f
	pause
	decl %ecx
	jnz op_wait_irq
1:	movl irqs, %eax
	jmp print_value

/* byte b to port a, c times */
op_flood: movl %ecx, %eax
	xchgl %ebx, %edx
	movl %ebx, %ecx
1:	outb %al, %dx
	decl %ecx
	jnz 1b
	jmp next

op_triple: lidt null_idtr
	ud2

op_jump: jmp *%ebx

/* text at offset a, b bytes */
op_print: pushl %esi
	leal (%ebp,%ebx), %esi
1:	lodsb
	call char
	decl %ecx
	jnz 1b
	popl %esi
	jmp next

op_spin: pause
	decl %ebx
	jnz op_spin
	jmp next

/* leaf a, subleaf b: four values */
op_cpuid: movl %ebx, %eax
	cpuid
	pushl %edx
	pushl %ecx
	pushl %ebx
	call hex
	popl %eax
	call hex
	popl %eax
	call hex
	popl %eax
	call hex
	jmp next

op_rdmsr: movl %ebx, %ecx
	rdmsr
	jmp print_value

/* one byte in each page: from address a, b pages, c apart */
op_touch: movb $1, (%ebx)
	addl %edx, %ebx
	decl %ecx
	jnz op_touch
	jmp next

/* go on with the operation at offset a, for ever */
op_again: leal (%ebp,%ebx), %esi
	jmp next

/* move: to address a, from address b, c bytes */
op_move: pushl %esi
	movl %ebx, %edi
	movl %ecx, %esi
	movl %edx, %ecx
	rep movsb
	popl %esi
	jmp next

/* in, width a, from port b, c times, d apart; nothing is printed */
op_sweep_in: xchgl %edx, %ecx
1:	cmpl $2, %ebx
	je 2f
	ja 4f
	inb %dx, %al
	jmp 5f
2:	inw %dx, %ax
	jmp 5f
4:	inl %dx, %eax
5:	addl %edi, %edx
	decl %ecx
	jnz 1b
	jmp next

/* out: width in the low byte of a, what is sent in the three above; from port b, c times, d apart */
op_sweep_out: xchgl %edx, %ecx
	movl %ebx, %eax
	shrl $8, %eax
1:	cmpb $2, %bl
	je 2f
	ja 4f
	outb %al, %dx
	jmp 5f
2:	outw %ax, %dx
	jmp 5f
4:	outl %eax, %dx
5:	addl %edi, %edx
	decl %ecx
	jnz 1b
	jmp next

/* the same for memory: from address b */
op_sweep_read:
1:	cmpl $2, %ebx
	je 2f
	ja 4f
	movb (%ecx), %al
	jmp 5f
2:	movw (%ecx), %ax
	jmp 5f
4:	movl (%ecx), %eax
5:	addl %edi, %ecx
	decl %edx
	jnz 1b
	jmp next

op_sweep_write: movl %ebx, %eax
	shrl $8, %eax
1:	cmpb $2, %bl
	je 2f
	ja 4f
	movb %al, (%ecx)
	jmp 5f
2:	movw %ax, (%ecx)
	jmp 5f
4:	movl %eax, (%ecx)
5:	addl %edi, %ecx
	decl %edx
	jnz 1b
	jmp next

/* model-specific registers a … a+b-1: c = 0 read, 1 read and write back, 2 write ones, 3 write zeros. What faults is passed over. */
op_msrs: pushl %esi
	movl $fault, %eax
	movw %ax, idt + 13 * 8
	movw $0x10, idt + 13 * 8 + 2
	movw $0x8e00, idt + 13 * 8 + 4
	shrl $16, %eax
	movw %ax, idt + 13 * 8 + 6
	lidt idtr
	movl %ecx, %esi		/* how many */
	movl %edx, %edi		/* what */
	movl %ebx, %ecx
1:	xorl %eax, %eax
	xorl %edx, %edx
	cmpl $2, %edi
	jae 2f
	rdmsr
	testl %edi, %edi
	jz 3f
	jmp 4f
2:	ja 4f
	decl %eax
	decl %edx
4:	wrmsr
3:	incl %ecx
	decl %esi
	jnz 1b
	popl %esi
	jmp next
fault:	addl $4, %esp		/* the error code; rdmsr and wrmsr are two bytes */
	addl $2, (%esp)
	lret $4			/* as in irq */

/* machine code at address a */
op_call: call *%ebx
	jmp next

/* counts the 32 bits at address b down; unless they are 0 then, go on with the operation at offset a */
op_repeat: decl (%ecx)
	jz next
	leal (%ebp,%ebx), %esi
	jmp next

/* wait until the 16 bits at address a have one of the bits b, c rounds at most */
op_wait_bits: testw %cx, (%ebx)
	jnz next
	pause
	decl %edx
	jnz op_wait_bits
	jmp next

print_value: call hex
	jmp next

/* eax as a line; changes eax, ecx, edx, edi */
hex:	movl %eax, %edi
	movl $'=', %eax
	call char
	movl $8, %ecx
1:	roll $4, %edi
	movl %edi, %eax
	andl $15, %eax
	cmpl $10, %eax
	jb 2f
	addl $'a' - '0' - 10, %eax
2:	addl $'0', %eax
	call char
	decl %ecx
	jnz 1b
	movl $'\n', %eax
/* al to COM1; changes edx */
char:	movl $0x3f8, %edx
	outb %al, %dx
	ret

	.align 8
gdt:	.quad 0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:	.word gdtr - gdt - 1
	.long gdt
idtr:	.word 0x41 * 8 - 1
	.long idt
null_idtr: .word 0
	.long 0

	.bss
	.align 16
idt:	.skip 0x41 * 8
irqs:	.skip 4
	.align 16
	.skip 4096
stack_end:
